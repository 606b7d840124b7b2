"""The HTTP side of the daemon: the only code that knows Starlette and uvicorn.

Connections:

    server                uvicorn as the daemon uses it, and how it stops
    connection_limits     what a connection may hold, and how long it may take
    handshake, tls        connections that are to speak TLS; its certificate
    websocket             connections of WebSockets

What a request passes, from the outside in:

    app                   the two applications, on TCP and on the Unix socket
    access_log, record    counts and logs every request; the facts about one
    error_replies         every error as a reply, in the form of the API that was asked
    spelling              how paths may be spelled
    origins               which web pages may use the daemon (CORS)
    security              checks Host, Origin, key and size of a request
    callers               who sends it, and what they may do
    rights                which right each route needs
    caller_limits         how much each caller may ask for
    intake                how many requests there may be, and how large together
    compression           compressed bodies
    connection            the client: JSON from and to it, streams, and its disconnection

Routes:

    generate              every dialect: from a body to the end of its answer
    responses             the Responses API and what it stores
    background_responses  responses for which no client waits
    responses_socket      the Responses API over a WebSocket
    ollama, lm_studio     Ollama's routes; LM Studio's list of models
    openapi               /openapi.json
    control               the control API
    ui, page              the page's part of the control API; its files
"""
