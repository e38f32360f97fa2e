import { defineConfig, type Plugin } from "vite";

// One file: the script and the styles go into the page. orbit4d fills {{title}}, {{poster}} and {{asset}}.
function inline(): Plugin {
  return {
    name: "inline",
    enforce: "post",
    generateBundle(_, bundle) {
      const take = (suffix: string): string => {
        const name = Object.keys(bundle).find((file) => file.endsWith(suffix));
        if (name === undefined) throw new Error(`the build made no ${suffix} file`);
        const part = bundle[name]!;
        delete bundle[name];
        const text = part.type === "chunk" ? part.code : String(part.source);
        if (/<\/(script|style)/i.test(text)) throw new Error(`${name} would end its own element`);
        if (text.includes("{{")) throw new Error(`${name} holds a placeholder`);
        return text.trim();
      };
      const page = Object.values(bundle).find((part) => part.fileName.endsWith(".html"));
      if (page?.type !== "asset") throw new Error("the build made no page");
      const script = take(".js"), style = take(".css");
      page.fileName = "player.html";
      page.source = String(page.source)
        .replace(/\s*<(?:script type="module"|link rel="stylesheet")[^>]*>(?:<\/script>)?/g, "")
        .replace("<!--styles-->", () => `<style>${style}</style>`)
        .replace("<!--script-->", () => `<script type="module">${script}</script>`);
    },
  };
}

export default defineConfig({
  plugins: [inline(), { name: "entry", transformIndexHtml: { order: "pre", handler: (html) => html.replace("</head>", '<script type="module" src="/src/main.ts"></script></head>') } }],
  build: {
    outDir: "../src/orbit4d/viewer",
    emptyOutDir: false,
    target: "es2022",
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: { output: { format: "es" } },
  },
  worker: { format: "iife" },
});
