"""Does a viewer that knows nothing of orbit4d play a compact 4D file? three.js' GLTFLoader, asked in headless Chromium.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/compact_elsewhere.py --npm FOLDER --out benchmarks/results/compact_elsewhere.json

FOLDER is one in which `npm install three esbuild` was run. The file is `encode`'s, gunzipped. Its page uses three's own loader,
animation mixer and shader code, and nothing of ours. `vertices` are the points as three's vertex shader places them, written
into a float texture and read back; they are compared with the exact model, `Gaussians4D.at(t)`, at knots of the file and between
them:

    worst, mean      distance to the exact centre, as a share of the scene's extent; the file promises `bound` at knots
    moved            the largest distance from the exact centres at time 0, likewise: what a viewer that stands still would be off
    lit              share of the exact centres of that time whose pixel is drawn, projected by the page's camera
    lit_by_time_0    the same for the centres of time 0: less, where the picture really moves

`splats` is what three's plugin for KHR_gaussian_splatting draws (its WebGPURenderer, on WebGL 2): time 0, without motion; PSNR
against our rasteriser by the same camera, mirrored for comparison, and of a black picture.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from compact import Arguments as Construction
from compact import construct
from npm_bundle import bundled
from shared import write_report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the tests' browser
from chromium import Chromium

from orbit4d.cameras import Cameras
from orbit4d.export.compact import FRAMES, CompactScene, decode, encode
from orbit4d.export.compact_tracks import sample_tracks
from orbit4d.splat.gaussians import Gaussians4D
from orbit4d.splat.io import load_scene
from orbit4d.splat.rasterize import render

SIDE = 600
LIT = 40
"""Levels of 255 above black that count as drawn."""
SCRIPT = """
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { WebGPURenderer } from "three/webgpu";
import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";
const file = () => Uint8Array.from(atob(document.getElementById("file").textContent), (c) => c.charCodeAt(0)).buffer;
const text = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let out = "";
  for (let i = 0; i < bytes.length; i += 32768) out += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(out);
};
const renderer = new THREE.WebGLRenderer({ antialias: false, preserveDrawingBuffer: true });
renderer.setSize(innerWidth, innerHeight);
document.body.append(renderer.domElement);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(40, innerWidth / innerHeight, 0.01, 100);
const gltf = await new GLTFLoader().parseAsync(file(), "");
scene.add(gltf.scene);
let points = null;
gltf.scene.traverse((o) => { if (o.isPoints) points = o; });
const mixer = new THREE.AnimationMixer(gltf.scene);
for (const clip of gltf.animations) mixer.clipAction(clip).play();
scene.updateMatrixWorld(true);
const sphere = new THREE.Box3().setFromObject(gltf.scene).getBoundingSphere(new THREE.Sphere());
camera.position.set(sphere.center.x + sphere.radius, sphere.center.y + 0.7 * sphere.radius, sphere.center.z + 2.5 * sphere.radius);
camera.lookAt(sphere.center);
camera.updateMatrixWorld(true);

const count = points.geometry.attributes.position.count;
const size = new THREE.Vector2(1024, Math.ceil(count / 1024));
const target = new THREE.WebGLRenderTarget(size.x, size.y, { type: THREE.FloatType, depthBuffer: false });
const probe = new THREE.ShaderMaterial({
  uniforms: { size: { value: size } },
  depthTest: false,
  vertexShader: `
    #include <morphtarget_pars_vertex>
    uniform vec2 size;
    varying vec3 place;
    void main() {
      #include <begin_vertex>
      #include <morphtarget_vertex>
      place = (modelMatrix * vec4(transformed, 1.0)).xyz;
      float i = float(gl_VertexID);
      gl_Position = vec4((vec2(mod(i, size.x), floor(i / size.x)) + 0.5) / size * 2.0 - 1.0, 0.0, 1.0);
      gl_PointSize = 1.0;
    }`,
  fragmentShader: "varying vec3 place; void main() { gl_FragColor = vec4(place, 1.0); }",
});

const own = points.material;
window.asked = {
  file: {
    object: points.type, vertices: count, targets: points.morphTargetInfluences?.length ?? 0,
    animations: gltf.animations.length, seconds: gltf.animations[0]?.duration ?? 0, three: THREE.REVISION,
    colours: own.vertexColors,
  },
  play(seconds) {
    mixer.setTime(seconds);
    points.material = own;
    renderer.setRenderTarget(null);
    renderer.render(scene, camera);
    return new THREE.Matrix4().multiplyMatrices(camera.projectionMatrix, camera.matrixWorldInverse).toArray();
  },
  vertices() {
    points.material = probe;
    points.frustumCulled = false;
    renderer.setRenderTarget(target);
    renderer.render(scene, camera);
    const out = new Float32Array(size.x * size.y * 4);
    renderer.readRenderTargetPixels(target, 0, 0, size.x, size.y, out);
    renderer.setRenderTarget(null);
    return text(out.subarray(0, 4 * count));
  },
  camera: () => ({ pose: camera.matrixWorld.toArray(), focal: innerHeight / 2 / Math.tan(camera.fov * Math.PI / 360) }),
  async splats() {
    const loaded = await new GLTFLoader().register((p) => new GLTFGaussianSplatLoaderExtension(p)).parseAsync(file(), "");
    let found = null;
    loaded.scene.traverse((o) => { if (o.type === "GaussianSplat") found = o; });
    if (!found) return null;
    const drawn = new WebGPURenderer({ forceWebGL: true, antialias: false });
    await drawn.init();
    drawn.setSize(innerWidth, innerHeight);
    renderer.domElement.replaceWith(drawn.domElement);
    const place = new THREE.Scene();
    place.add(loaded.scene);
    window.drawSplats = () => drawn.render(place, camera);
    drawn.setAnimationLoop(window.drawSplats);
    return { object: found.type };
  },
};
"""


@dataclass(kw_only=True)
class Arguments:
    npm: Path
    """Folder whose node_modules hold three and esbuild."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    scene: Path | None = None
    """As in compact.py; one that exists is read without its renders."""
    bound: float = 2e-3
    moments: tuple[float, ...] = (0.0, 12 / 46, 0.41, 32 / 46, 0.9)
    """Times in [0, 1]: two knots after the first, and two between knots."""
    keep: Path | None = None
    """Folder that receives screenshots."""


def main(arguments: Arguments) -> None:
    made = arguments.scene is not None and arguments.scene.is_file()
    scene = load_scene(arguments.scene) if made else construct(Construction(scene=arguments.scene))[0]  # type: ignore[arg-type]
    packed = encode(scene, bound=arguments.bound)
    compact = decode(packed)
    with tempfile.TemporaryDirectory() as name:
        page = Path(name) / "page.html"
        page.write_text(page_of(gzip.decompress(packed), bundled(SCRIPT, arguments.npm)))
        browser = Chromium(Path(name))
        try:
            report = ask(browser, page, scene, compact, arguments)
        finally:
            browser.close()
    write_report(arguments.out, {"bytes": len(packed), "bound": arguments.bound} | report)


def page_of(glb: bytes, script: str) -> str:
    data = base64.b64encode(glb).decode("ascii")
    style = "<style>body { margin: 0; background: black }</style>"
    return (
        f"<!doctype html><meta charset='utf-8'>{style}<body><script type='text/plain' id='file'>{data}</script>"
        f"<script type='module'>{script}</script>"
    )


def ask(browser: Chromium, page: Path, scene: Gaussians4D, compact: CompactScene, arguments: Arguments) -> dict:
    browser.size(SIDE, SIDE)
    browser.open(page, wait="window.asked")
    file = browser.js("asked.file")
    extent, order = compact.extras["extent"], stored_order(scene)
    start = upright(scene, 0.0, order)
    rows = []
    for moment in arguments.moments:
        matrix = np.array(browser.js(f"asked.play({moment * file['seconds']})")).reshape(4, 4).T
        browser.settle()
        shot = browser.screenshot(None if arguments.keep is None else kept(arguments.keep, moment))
        seen = np.frombuffer(base64.b64decode(browser.js("asked.vertices()")), "<f4").reshape(-1, 4)[:, :3]
        exact = upright(scene, moment, order)
        off, moved = (np.linalg.norm(exact - other, axis=1) / extent for other in (seen, start))
        rows.append(
            {
                "time": round(moment, 4),
                "knot": abs(moment * 2 * (FRAMES - 1) - round(moment * 2 * (FRAMES - 1))) < 1e-6,
                "worst": round(float(off.max()), 6),
                "mean": round(float(off.mean()), 6),
                "moved": round(float(moved.max()), 4),
                "pixels_drawn": int((shot.max(axis=-1) > LIT / 255).sum()),
                "lit": lit(exact, matrix, shot),
                "lit_by_time_0": lit(start, matrix, shot),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    splats = browser.js("asked.splats().catch((error) => ({ error: String(error) }))")
    if "object" in (splats or {}):
        splats |= against_ours(browser, compact, arguments.keep)
    return {"file": file, "rows": rows, "splats": splats, "console": browser.console[:5]}


def against_ours(browser: Chromium, compact: CompactScene, keep: Path | None) -> dict:
    """PSNR of the splats of three at time 0 against our rasteriser's, by the page's camera, and mirrored for comparison."""
    browser.settle(20)
    shot = browser.screenshot(None if keep is None else keep / "three_splats.png")
    pose, focal = browser.js("[asked.camera().pose, asked.camera().focal]")
    from_gltf = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)  # glTF's axes to ours
    camera_to_world = np.eye(4)
    camera_to_world[:3] = (
        from_gltf @ np.array(pose).reshape(4, 4).T[:3] @ np.diag([1, -1, -1, 1])
    )  # OpenGL's camera to OpenCV's
    intrinsics = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]], dtype=torch.float32)
    cameras = Cameras(
        camera_to_world=torch.from_numpy(camera_to_world).float()[None],
        intrinsics=intrinsics[None],
        width=SIDE,
        height=SIDE,
    )
    ours = render(compact.at(0.0), cameras, background=0.0).rgb[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return {
        "psnr": level(shot, ours),
        "psnr_mirrored": level(shot, ours[:, ::-1]),
        "psnr_of_black": level(0 * shot, ours),
    }


def level(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB."""
    return round(float(-10 * np.log10(np.square(a - b).mean())), 1)


def kept(folder: Path, moment: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"three_{moment:.2f}.png"


@torch.no_grad()
def upright(scene: Gaussians4D, time: float, order: np.ndarray) -> np.ndarray:
    """(n, 3) exact centres in the file's order, in glTF's axes."""
    x, y, z = scene.at(time).means[order].numpy().T
    return np.stack([x, z, -y], axis=1)


def stored_order(scene: Gaussians4D) -> np.ndarray:
    """Which Gaussian of the scene each of the file is: `encode` leaves out and sorts, but changes no number before that."""
    knots = 2 * FRAMES - 1
    means = scene.sampled(torch.linspace(0, 1, knots))[0].means.detach().numpy()
    index = {row.tobytes(): i for i, row in enumerate(means)}
    return np.array([index[row.tobytes()] for row in sample_tracks(scene, knots=knots).first.means.numpy()])


def lit(points: np.ndarray, matrix: np.ndarray, shot: np.ndarray) -> float:
    """Share of (n, 3) `points` within a pixel of something drawn; `matrix` (4, 4) takes them to clip space."""
    clip = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    x, y = ((clip[:, :2] / clip[:, 3:] * [1, -1] + 1) / 2 * SIDE).T.astype(int)
    drawn = np.pad(shot.max(axis=-1) > LIT / 255, 1)
    near = np.any([drawn[1 + i : SIDE + 1 + i, 1 + j : SIDE + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    return round(float(near[y.clip(0, SIDE - 1), x.clip(0, SIDE - 1)][inside].mean()), 4)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
