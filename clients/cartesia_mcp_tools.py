"""PyPI cartesia-mcp over stdio: CARTESIA_BASE_URL through the SDK it is built on,
and CARTESIA_FILES_BASE_URL for what it saves."""

import json
import os
import sys
import tempfile
from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from common import *


class Tools:
    """The program's tools, as calls that give what they say."""

    def __init__(self, session):
        self.session = session

    async def call(self, tool, **arguments):
        answer = await self.session.call_tool(tool, arguments)
        text = "\n".join(part.text for part in answer.content)
        assert not answer.is_error, f"{tool}: {text}"
        try:
            return json.loads(text)
        except ValueError:
            return text


@asynccontextmanager
async def program():
    """cartesia-mcp as a child that speaks through its pipes."""
    path = os.path.join(os.path.dirname(sys.executable), "cartesia-mcp")
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as log:
        environment = {
            **os.environ,
            "CARTESIA_API_KEY": KEY,
            "CARTESIA_BASE_URL": BASE,
            "CARTESIA_FILES_BASE_URL": BASE,
            "OUTPUT_DIRECTORY": folder,
        }
        server = StdioServerParameters(command=path, args=[], env=environment)
        async with stdio_client(server, errlog=log) as pipes, ClientSession(*pipes) as session:
            await session.initialize()
            yield Tools(session)


@check
async def speaks():
    """With `save`, its default, it needs the id of a file in the answer."""
    async with program() as tools:
        names = [t.name for t in (await tools.session.list_tools()).tools]
        assert "text_to_speech" in names, names
        for save in (True, False):
            made = await tools.call("text_to_speech", transcript=LINE, voice_id=VOICE, output_format=WAV, save=save)
            with open(made["file_path"], "rb") as file:
                seconds = wav_speech(file.read())
            assert bool(made.get("file_id")) == save, made
        return f"{seconds:.2f} s, {len(names)} tools"


@check
async def speaks_faster():
    async with program() as tools:
        said = {}
        for speed in (0.7, 1.4):
            made = await tools.call(
                "text_to_speech", transcript=LINE, voice_id=VOICE, output_format=WAV, speed=speed, save=False
            )
            with open(made["file_path"], "rb") as file:
                said[speed] = wav_speech(file.read())
        assert said[0.7] > 1.4 * said[1.4], said


@check
async def lists():
    async with program() as tools:
        assert VOICE in json.dumps(await tools.call("list_voices", limit=100))
        assert (await tools.call("list_models"))
        assert (await tools.call("list_accents"))


@check
async def clones():
    async with program() as tools:
        made = await tools.call("clone_voice", name="a guest", language="en", mode="similarity", file_path=CLIP)
        voice = made["id"] if isinstance(made, dict) else made
        assert (await tools.call("get_voice", voice_id=voice))["name"] == "a guest"
        await tools.call("update_voice", voice_id=voice, name="renamed", description="d")
        await tools.call("text_to_speech", transcript=LINE, voice_id=voice, output_format=WAV, save=False)
        await tools.call("delete_voice", voice_id=voice)


@check
async def pronunciation_dicts():
    async with program() as tools:
        made = await tools.call("create_pronunciation_dict", name="names", items=[{"text": "kettle", "pronunciation": "teapot"}])
        assert made["id"] in json.dumps(await tools.call("list_pronunciation_dicts"))
        await tools.call("delete_pronunciation_dict", dict_id=made["id"])


run()
