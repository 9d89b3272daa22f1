"""Sound files that are small and hostile: hours of silence in few bytes, and
headers that claim what is not there."""

import struct


def crc(data, poly, bits):
    """A cyclic redundancy check, high bits first, as FLAC and Ogg have them."""
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ (poly if value & top else 0)) & mask
        table.append(value)
    value = 0
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> (bits - 8) ^ byte]
    return value


def coded(number):
    """A frame's number as FLAC writes it, which is UTF-8's way."""
    if number < 0x80:
        return bytes([number])
    if number < 0x800:
        return bytes([0xC0 | number >> 6, 0x80 | number & 63])
    return bytes([0xE0 | number >> 12, 0x80 | number >> 6 & 63, 0x80 | number & 63])


def flac(hours, claimed=None):
    """Silence in frames of 32,768 samples, eleven bytes each."""
    frames = int(hours * 3600 * 16000 / 32768)
    samples = frames * 32768 if claimed is None else claimed
    info = struct.pack("!HH", 32768, 32768) + bytes(6)
    info += (16000 << 44 | 0 << 41 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    out = [b"fLaC\x80\0\0\x22" + info]
    for number in range(frames):
        # Blocks of 32,768 at the stream's rate; one channel of 16 bits.
        head = b"\xff\xf8" + bytes([15 << 4 | 0, 0 << 4 | 4 << 1]) + coded(number)
        head += bytes([crc(head, 0x07, 8)])
        # One constant, which is nought.
        frame = head + b"\0\0\0"
        out.append(frame + struct.pack("!H", crc(frame, 0x8005, 16)))
    return b"".join(out)


def opus(hours):
    """Silence in packets of 120 ms, four bytes each, 60 to a page."""

    def page(kind, granule, number, packets):
        head = b"OggS\0" + bytes([kind]) + struct.pack("<qIII", granule, 7, number, 0) + bytes([len(packets)])
        data = head + bytes(map(len, packets)) + b"".join(packets)
        return data[:22] + struct.pack("<I", crc(data, 0x04C11DB7, 32)) + data[26:]

    out = [page(2, 0, 0, [b"OpusHead\1\1" + struct.pack("<HIhB", 0, 48000, 0, 0)])]
    out.append(page(0, 0, 1, [b"OpusTags" + struct.pack("<I", 0) + struct.pack("<I", 0)]))
    # Two frames of 60 ms, both without a bit.
    pages = int(hours * 3600 / (60 * 0.12))
    for at in range(pages):
        last = at == pages - 1
        out.append(page(4 if last else 0, (at + 1) * 60 * 5760, at + 2, [bytes([3 << 3 | 3, 2])] * 60))
    return b"".join(out)


def wav(data=b"\0\0" * 2400, size=None, channels=1, rate=24000, bits=16, kind=1, riff=None):
    """A WAV file whose header says what it is told to say."""
    size = len(data) if size is None else size
    riff = min(size + 36, 0xFFFFFFFF) if riff is None else riff
    bytes_a_frame = channels * bits // 8
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16)
    head += struct.pack("<HHIIHH", kind, channels, rate, rate * bytes_a_frame & 0xFFFFFFFF, bytes_a_frame & 0xFFFF, bits)
    return head + b"data" + struct.pack("<I", size) + data


def all_of_them(hours, noise):
    """Every hostile file, by name."""
    box = lambda kind, size, data=b"": struct.pack("!I", size) + kind + data  # noqa: E731
    return {
        "flac of hours": flac(hours),
        "flac that claims 2^36 samples": flac(0.01, (1 << 36) - 1),
        "flac without frames": flac(0, (1 << 36) - 1),
        "flac cut": flac(0.01)[:-5],
        "opus of hours": opus(hours),
        "opus cut": opus(0.01)[:-3],
        "wav that claims 4 GB": wav(size=0xFFFFFFFF, riff=0xFFFFFFFF),
        "wav with 65535 channels": wav(channels=65535),
        "wav without channels": wav(channels=0),
        "wav at 0 Hz": wav(rate=0),
        "wav at 4 GHz": wav(rate=0xFFFFFFFF),
        "wav of 0 bits": wav(bits=0),
        "wav of 65535 bits": wav(bits=65535),
        "wav of unknown kind": wav(kind=0x1234),
        "wav of not numbers": wav(struct.pack("<f", float("nan")) * 24000, kind=3, bits=32),
        "wav of infinities": wav(struct.pack("<f", float("inf")) * 24000 * 5, kind=3, bits=32),
        "wav without data": wav()[:36],
        "wav's chunk in a circle": wav()[:12] + b"LIST\xff\xff\xff\xff" + bytes(64),
        "mp3 that is noise": b"\xff\xfb\x90\x00" + noise[:50000],
        "id3 that claims 256 MB": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + noise[:1000],
        "mp4 with a box of 4 GB": box(b"ftyp", 24, b"M4A \0\0\0\0M4A isom") + box(b"moov", 0xFFFFFFFF, noise[:1000]),
        "mp4 in boxes without end": box(b"ftyp", 24, b"M4A \0\0\0\0M4A isom") + b"".join(box(b"moov", 1 << 20) for _ in range(5000)),
        "ogg whose pages are noise": b"OggS\0\2" + bytes(8) + noise[:60000],
        "noise": noise,
        "text": b"RIFF of a story " * 100,
        "one byte": b"R",
    }
