"""`instructor`, as its documentation has it: python instructor_client.py URL MODEL."""

import json
import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel

url, model = sys.argv[1:]
openai = OpenAI(base_url=url, api_key="none")


class City(BaseModel):
    """A city."""

    name: str
    capital: bool


answer = instructor.from_openai(openai).create(
    model=model,
    messages=[{"role": "user", "content": "What is the capital of France?"}],
    response_model=None,
    temperature=0,
    max_tokens=60,
)

schemas = []
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai, mode=mode)
    city = client.create(
        model=model,
        messages=[{"role": "user", "content": "Paris"}],
        response_model=City,
        temperature=0,
        max_tokens=60,
    )
    schemas.append(city.model_dump())

client = instructor.from_openai(openai, mode=instructor.Mode.JSON_SCHEMA)
partials = [
    city.model_dump()
    for city in client.create_partial(
        model=model,
        messages=[{"role": "user", "content": "Paris"}],
        response_model=City,
        temperature=0,
        max_tokens=60,
    )
]
print(
    json.dumps(
        {
            "chat": answer.choices[0].message.content,
            "schemas": schemas,
            "partials": partials,
        }
    )
)
