"""The API dialects, pure: bytes to GenerateRequest, events to reply.

For every dialect:

    dialect           what a dialect is: the interfaces of a body and of a reply builder
    decode            JSON to a typed body; an error names the field and what is allowed
    keep_alive        how long a model stays in memory, as Ollama writes it

OpenAI's dialects, and what they share:

    chat              the body of POST /v1/chat/completions
    chat_reply        its reply, whole and in chunks
    completions       the body of POST /v1/completions
    completion_reply  its reply, whole and in chunks
    fields            the fields that both bodies have, and the engine's requests made of them
    field_types       their types, and Ollama's options
    conversation      messages, tools and tool choice, and how chat templates take them
    content           the parts of messages, results and arguments of any shape
    response_format   what the answer has to match, as each server spells it
    other_servers     the fields of other servers that are refused or ignored
    openai_errors     errors as OpenAI's API writes them
    reply             token counts, the list of models, health: the types both replies share
    reply_builder     from the events of an answer to its reply, streamed or whole

OpenAI's Responses dialect:

    responses          the body of POST /v1/responses, and a turn of a conversation
    responses_reply    the reply, whole and in events
    open_items         items that are being written
    response_items     the items of a conversation, and how chat templates take them
    response_tools     tools and tool choice
    response_resource  the types of a response and its items
    response_events    the types of its events
    response_replay    the events of a stored response
    compaction         a summary that stands for a conversation

Anthropic's dialect:

    anthropic          the bodies of POST /v1/messages and /v1/messages/count_tokens
    anthropic_content  messages, tools, and the conversation that chat templates take
    anthropic_reply    the reply, whole and in events
    anthropic_types    the types of replies and events; errors and models

Ollama's dialect:

    ollama             the bodies of POST /api/chat and /api/generate
    ollama_reply       the reply, whole and in lines; errors

A new dialect is a module like `chat.py` with a function `decode_body`, and its reply builder.
"""
