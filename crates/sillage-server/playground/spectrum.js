// A short Fourier transform and the bands of the spectrogram.

const SIZE = 512;
export const BANDS = 80;
const TOP = 9000;

const taper = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
const cosines = Float32Array.from({ length: SIZE / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / SIZE));
const sines = Float32Array.from({ length: SIZE / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / SIZE));
const re = new Float32Array(SIZE);
const im = new Float32Array(SIZE);
const swaps = Uint16Array.from({ length: SIZE }, (_, i) => reversed(i));

function reversed(i) {
  let out = 0;
  for (let bit = 1; bit < SIZE; bit <<= 1) { out = (out << 1) | (i & 1); i >>= 1; }
  return out;
}

function transform() {
  for (let size = 2; size <= SIZE; size <<= 1) {
    const half = size >> 1;
    const stride = SIZE / size;
    for (let block = 0; block < SIZE; block += size) {
      for (let i = 0; i < half; i += 1) {
        const a = block + i;
        const b = a + half;
        const c = cosines[i * stride];
        const s = sines[i * stride];
        const r = re[b] * c - im[b] * s;
        const m = re[b] * s + im[b] * c;
        re[b] = re[a] - r; im[b] = im[a] - m;
        re[a] += r; im[a] += m;
      }
    }
  }
}

// Bands are spaced as hearing is: close together below, wide above.
const mel = (hertz) => 1127 * Math.log(1 + hertz / 700);
const hertz = (m) => 700 * (Math.exp(m / 1127) - 1);
const edges = (rate) => Array.from({ length: BANDS + 1 }, (_, i) => (hertz(mel(60) + ((mel(TOP) - mel(60)) * i) / BANDS) * SIZE) / rate);
let cached = null;

// Loudness of every band, 0 to 1 over 70 dB, of SIZE samples.
export function bandsOf(samples, rate, out) {
  if (!cached) cached = edges(rate);
  for (let i = 0; i < SIZE; i += 1) { const j = swaps[i]; re[j] = samples[i] * taper[i]; im[j] = 0; }
  transform();
  for (let band = 0; band < BANDS; band += 1) {
    const low = cached[band];
    const high = cached[band + 1];
    let power = 0;
    for (let bin = Math.floor(low); bin <= Math.ceil(high); bin += 1) {
      // Narrow bands lie between two bins: each counts by its nearness.
      const share = Math.max(0, Math.min(bin + 0.5, high + 0.5) - Math.max(bin - 0.5, low - 0.5));
      power += Math.min(1, share) * (re[bin] * re[bin] + im[bin] * im[bin]);
    }
    out[band] = Math.max(0, Math.min(1, (10 * Math.log10(power + 1e-9) + 38) / 70));
  }
  return out;
}

export { SIZE };
