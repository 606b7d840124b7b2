"""The API dialects, pure: bytes to GenerateRequest, events to reply.

For every dialect:

    dialect.py           what a dialect is: the interfaces of a body and of a reply builder
    decode.py            JSON to a typed body; an error names the field and what is allowed
    keep_alive.py        how long a model stays in memory, as Ollama writes it

OpenAI's dialects, and what they share:

    chat.py              the body of POST /v1/chat/completions
    chat_reply.py        its reply, whole and in chunks
    completions.py       the body of POST /v1/completions
    completion_reply.py  its reply, whole and in chunks
    fields.py            the fields that both bodies have, and the engine's requests made of them
    field_types.py       their types, and Ollama's options
    conversation.py      messages, tools and tool choice, and how chat templates take them
    content.py           the parts of messages, results and arguments of any shape
    response_format.py   what the answer has to match, as each server spells it
    other_servers.py     the fields of other servers that are refused or ignored
    openai_errors.py     errors as OpenAI's API writes them
    reply.py             token counts, the list of models, health: the types both replies share
    reply_builder.py     from the events of an answer to its reply, streamed or whole

OpenAI's Responses dialect:

    responses.py          the body of POST /v1/responses, and a turn of a conversation
    responses_reply.py    the reply, whole and in events
    open_items.py         items that are being written
    response_items.py     the items of a conversation, and how chat templates take them
    response_tools.py     tools and tool choice
    response_resource.py  the types of a response and its items
    response_events.py    the types of its events
    response_replay.py    the events of a stored response
    compaction.py         a summary that stands for a conversation

Anthropic's dialect:

    anthropic.py          the bodies of POST /v1/messages and /v1/messages/count_tokens
    anthropic_content.py  messages, tools, and the conversation that chat templates take
    anthropic_reply.py    the reply, whole and in events
    anthropic_types.py    the types of replies and events; errors and models

Ollama's dialect:

    ollama.py             the bodies of POST /api/chat and /api/generate
    ollama_reply.py       the reply, whole and in lines; errors

A new dialect is a module like `chat.py` with a function `decode_body`, and its reply builder.
"""
