// Markdown of a model's answer as elements. HTML in it stays text, pictures become links, so that
// nothing in an answer runs or makes the browser ask another host.

const parser = globalThis.markdownit({ html: false, linkify: true, breaks: false });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// The Content-Security-Policy allows no style attributes, which tables would have.
parser.core.ruler.push("classes", ({ tokens }) => {
  for (const token of tokens) {
    const style = token.attrGet("style");
    if (style === null) continue;
    token.attrs = token.attrs.filter(([name]) => name !== "style");
    token.attrJoin("class", style.replace("text-align:", "align-"));
  }
});

const { rules } = parser.renderer;
const plainLink = rules.link_open ?? ((tokens, index, options, _env, self) => self.renderToken(tokens, index, options));
rules.link_open = (tokens, index, ...rest) => {
  tokens[index].attrSet("target", "_blank");
  tokens[index].attrSet("rel", "noopener noreferrer");
  return plainLink(tokens, index, ...rest);
};
rules.image = (tokens, index) => {
  const { escapeHtml } = parser.utils;
  const { content } = tokens[index];
  const href = escapeHtml(tokens[index].attrGet("src"));
  return `<a href="${href}" target="_blank" rel="noopener noreferrer">${escapeHtml(content || "picture")}</a>`;
};

// The only place where text becomes HTML: the Content-Security-Policy refuses any other.
const policy = globalThis.trustedTypes?.createPolicy("markdown", { createHTML: (html) => html })
  ?? { createHTML: (html) => html };

/** Show Markdown in an element. */
export function render(element, text) {
  element.innerHTML = policy.createHTML(parser.render(text));
  for (const code of element.querySelectorAll("pre > code")) addHead(code);
}

/** Give a block of code a line that says its language and has a button to copy it. */
function addHead(code) {
  const head = document.createElement("div");
  const name = document.createElement("span");
  const button = document.createElement("button");
  head.className = "code-head";
  name.textContent = /language-(\S+)/.exec(code.className)?.[1] ?? "";
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  button.dataset.copies = "code";
  head.append(name, button);
  code.parentElement.before(head);
}
