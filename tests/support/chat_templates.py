"""Short chat templates with the demands of well-known ones: what they refuse, and how they fail."""

_CHATML_TURN = (
    "{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ '<tool_call>' + call.function.name + ' ' + (call.function.arguments | tojson) }}"
    "{% endfor %}{{ '<|im_end|>\n' }}"
)
_ANSWER = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

GEMMA2 = (
    "{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>\n' }}"
    "{% endfor %}" + _ANSWER
)
"""No system, no tools, and user and assistant in turns."""

GEMMA3 = (
    "{% set first = '' %}{% set rest = messages %}"
    "{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% endif %}"
    "{% for message in rest %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + (first if loop.first else '') }}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}" + _ANSWER
)
"""Takes a system first, and wants turns."""

MISTRAL = (
    "{% set rest = messages %}{% if messages[0].role == 'system' %}"
    "{{ '[S]' + messages[0].content }}{% set rest = messages[1:] %}{% endif %}"
    "{% set turn = namespace(index=0) %}{% for message in rest %}"
    "{% if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}"
    "{% if (message.role == 'user') != (turn.index % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% set turn.index = turn.index + 1 %}{% endif %}{% endfor %}"
    "{% for message in rest %}"
    "{% if message.role == 'user' %}{{ '[INST]' + message.content + '[/INST]' }}"
    "{% elif message.tool_calls %}"
    "{% if tools %}{% endif %}{{ message.content + '[CALLS]' }}"
    "{% for call in message.tool_calls %}"
    "{% if call.id is not defined or call.id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be of length 9!') }}{% endif %}"
    "{{ call.function.name + (call.function.arguments | tojson) + call.id }}{% endfor %}"
    "{% elif message.role == 'assistant' %}{{ message.content + '</s>' }}"
    "{% elif message.role == 'tool' %}"
    "{% if message.tool_call_id is not defined or message.tool_call_id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be of length 9!') }}{% endif %}"
    "{{ '[RESULT]' + message.content + message.tool_call_id }}"
    "{% else %}{{ raise_exception('Only user, assistant and tool roles') }}{% endif %}{% endfor %}"
)
"""Turns, but for calls and results, whose ids have nine signs; a system only first."""

LLAMA3 = (
    "{% for message in messages %}"
    "{% if message.tool_calls %}{% if message.tool_calls | length != 1 %}"
    "{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}"
    "{{ '<|im_start|>assistant\n' + message.content }}{{ message.tool_calls[0].function.name }}"
    "{{ message.tool_calls[0].function.arguments | tojson }}<|im_end|>"
    "{% else %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' }}"
    "{% endif %}{% endfor %}{# tools #}" + _ANSWER
)
"""One call at once."""

QWEN3 = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% set content = message.content %}{% set thought = message.reasoning_content or '' %}"
    "{% if '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if loop.last and thought %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}"
    "{{ content }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ '<tool_call>' + call.function.name + (call.function.arguments | tojson) }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% else %}" + _CHATML_TURN + "{% endif %}{% endfor %}{# tools #}" + _ANSWER
)
"""Leaves earlier thoughts out."""

QWEN35 = (
    "{% set asked = namespace(user=false) %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set asked.user = true %}{% endif %}"
    "{% if message.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{% for call in message.tool_calls or [] %}{{ '<tool_call>' + call.function.name }}"
    "{% for name, value in call.function.arguments | items %}"
    "{{ '<' + name + '>' + (value if value is string else value | tojson) }}{% endfor %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if not asked.user %}{{ raise_exception('No user query found in messages.') }}{% endif %}"
    "{# tools #}" + _ANSWER
)
"""One system, first, and something from a user; goes through the items of arguments."""

DEEPSEEK = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{{ '<|im_start|>assistant' + message.content.split('</think>')[-1] }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ call.type + call.function.name + '\n' + call.function.arguments + '\n' }}{% endfor %}"
    "{{ '<|im_end|>' }}"
    "{% else %}{{ '<|im_start|>' + message.role + '\n' + message.content }}{% endif %}"
    "{% endfor %}{# tools #}" + _ANSWER
)
"""Wants arguments as text."""

KIMI = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role == 'tool' %}{{ '## Return of ' + message.tool_call_id + '\n' }}{% endif %}"
    "{{ message.content }}{% for call in message.tool_calls or [] %}{{ call.id + '>' }}"
    "{% if call.function.arguments is string %}{{ call.function.arguments }}"
    "{% else %}{{ call.function.arguments | tojson }}{% endif %}"
    "{{ call.function.name }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}{# tools #}" + _ANSWER
)
"""Prints ids."""

GLM = (
    "[gMASK]{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.content is string %}{{ message.content }}{% endif %}"
    "{% for call in message.tool_calls or [] %}{{ '<tool_call>' + call.function.name }}"
    "{% set arguments = call.function.arguments %}"
    "{% for name, value in arguments.items() %}"
    "{{ name }}{{ value | tojson if value is not string else value }}{% endfor %}"
    "{% endfor %}{% endfor %}{# tools #}" + _ANSWER
)
"""Calls `items` of arguments."""

GPT_OSS = (
    "{% set last = namespace(call=none) %}{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "{% if '<|channel|>analysis<|message|>' in message.content %}"
    "{{ raise_exception('You have passed a message containing <|channel|> tags') }}{% endif %}"
    "{% if message.tool_calls and message.content and message.thinking %}"
    "{{ raise_exception('Cannot pass both content and thinking') }}{% endif %}"
    "{{ '<|im_start|>assistant\n' + (message.thinking or '') + message.content }}"
    "{% for call in message.tool_calls or [] %}{% set last.call = call.id %}"
    "{{ 'to=functions.' + call.function.name + (call.function.arguments | tojson) }}"
    "{% endfor %}<|im_end|>"
    "{% elif message.role == 'tool' %}{% if last.call is none %}"
    "{{ raise_exception('Message has tool role, but there was no previous tool call') }}{% endif %}"
    "{{ 'functions ' + message.content }}"
    "{% elif message.role == 'system' and not loop.first %}"
    "{% else %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' }}"
    "{% endif %}{% endfor %}{# tools #}" + _ANSWER
)
"""A result only after a call, and calls with either a text or thoughts; skips later systems."""

SERVING = (
    "{% if messages[-1].role == 'assistant' %}"
    "{{ raise_exception('Expected last role User or Tool for serving') }}{% endif %}"
    "{% for message in messages %}" + _CHATML_TURN + "{% endfor %}{# tools #}" + _ANSWER
)
"""Something to answer last."""

PHI = (
    "{% for message in messages %}"
    "{{ '<|' + message.role + '|>' + message.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Takes everything."""

VISION = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}" + _ANSWER
)
"""Wants content in parts, and skips a text."""

TEMPLATES = {
    name: value for name, value in globals().items() if name.isupper() and not name.startswith("_")
}
