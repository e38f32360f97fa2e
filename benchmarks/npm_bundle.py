"""Another viewer's JavaScript as one script that a page can hold, from a folder where its packages and esbuild are installed."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path


def bundled(script: str, npm: Path) -> str:
    """`script` (an ES module) with all that it imports from `npm`/node_modules, to be put between script tags."""
    with tempfile.TemporaryDirectory(dir=npm) as name:  # within, so that imports are found in node_modules
        entry, out = Path(name) / "entry.mjs", Path(name) / "bundle.js"
        entry.write_text(script)
        esbuild = npm / "node_modules" / ".bin" / "esbuild"
        command = [str(esbuild), str(entry), "--bundle", "--minify", "--format=esm", f"--outfile={out}"]
        subprocess.run(command, check=True, capture_output=True)
        return out.read_text().replace("</script", "<\\/script")
