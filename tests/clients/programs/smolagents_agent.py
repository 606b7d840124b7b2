"""An agent of `smolagents` that copies notes: python smolagents_agent.py URL MODEL FOLDER TASK.

It does the task twice, the second time streamed, and prints what it says in the end.
"""

import json
import sys
from pathlib import Path

from smolagents import OpenAIModel, ToolCallingAgent, tool

url, model_name, folder, task = sys.argv[1:]


@tool
def list_files() -> str:
    """List the files of the folder."""
    return " ".join(sorted(file.name for file in Path(folder).iterdir()))


@tool
def write_file(name: str, content: str) -> str:
    """Write a file.

    Args:
        name: The name of the file.
        content: The text in it.
    """
    Path(folder, name).write_text(content)
    return f"{name} is written"


model = OpenAIModel(model_id=model_name, api_base=url, api_key="none")
said = [
    ToolCallingAgent(
        tools=[list_files, write_file], model=model, stream_outputs=streamed, verbosity_level=0
    ).run(task)
    for streamed in (False, True)
]
print("\n" + json.dumps(said))  # on a line of its own: streaming prints, too
