"""The engine process, which runs one model: the only code, with `mlxd.gguf`, that imports MLX.

`python -m mlxd.engine` is started by the daemon with a socket as standard input.

Its life:

    serving                  waits for a model, loads it, serves requests
    channel                  its end of the socket to the daemon
    alarm                    ends it if a call keeps Python's lock for ever
    confinement              keeps it from the network and from writing other files
    loader, draft_loading    load a model; a draft model, a part at a time
    tokenizer_loader         loads a tokenizer with its chat template
    load_faults              what loading raises, as one line for the user
    memory, stats            what its memory is used for; what it reports of that
    footprint                the memory of a process on a Mac

From a request to tokens:

    preprocessing            the threads that turn requests into tokens and constraints
    prompts                  prompts to tokens: conversations, plain text, token ids
    conversation             joins and moves the messages that a template refuses
    templates                renders chat templates
    request_template         renders a template that came with a request, in the sandbox
    sandbox, sandbox_worker  run templates and grammars of requests in a process of their own
    truncation               leaves out the oldest turns of a conversation that is too long
    control_tokens           keeps control tokens in messages from being more than text
    fill_in_the_middle       prompts that ask for the text of a gap

From tokens to an answer:

    scheduler                which requests are computed, and when
    strategies               running sequences together in a batch, or each with a draft model
    prefill                  reads prompts in parts, in turns
    reading_speed            how large such a part may be
    batch, sequence          one step of all running sequences; one of them
    sampling                 chooses the next tokens
    speculation              speculative decoding with a draft model
    thought_limit            ends a thought that is too long
    logprobs, echo           log-probabilities of the answer; those of the prompt
    output                   tokens to events: text, reasoning and calls, up to a stop text
    marks                    splits an answer at the marks around thoughts and calls

Calls of functions:

    tools                    how a model is told about functions, and which calls it may write
    call_formats             what belongs to a call in each format
    call_reader              reads a call
    bare_calls               finds calls that a model writes without marks

Structured output:

    structured_output        compiles grammars, and tells which tokens may come next
    masks, mask_time         that as a mask over the logits; a limit for the time that it takes
    time_limit               interrupts a compilation that does not end
    grammar_limits           how large grammars may be, and how many are kept
    json_schema              converts any JSON schema to one that llguidance compiles
    schema_keywords          its keywords
    schema_values            its numbers, values and formats
    schema_references        its references
    schema_context           what the conversion of all its parts shares
    schema_repair            finds keywords that llguidance cannot compile together
    schema_satisfiability    finds parts that no finite value can match
    schema_overlap           whether two schemas have a value in common
    enforced_schema          what is enforced of a schema, and what is not
    ecma_regex               regular expressions as JSON Schema writes them

The prompt cache:

    prompt_cache             the caches of earlier prompts in memory
    cache_layers             takes parts out of a cache, for every class of layer cache
    quantized_cache          caches of 4 or 8 bits
    disk_cache               the prompt cache on disk
    disk_reader              reads it in a thread
    node_file                one node as the bytes of a file
    stored_layers            the layers of a node as tensors, and back
    fingerprint              what a cache depends on, as a short name
"""
