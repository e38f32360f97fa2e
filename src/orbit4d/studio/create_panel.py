"""The "Create" tab: what to make, with the same settings and defaults as `orbit4d generate`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..data.wordings import with_article
from ..errors import InputError
from .result_panel import line, number, problem
from .runs import Runs
from .source_panel import SourcePanel
from .wishes import MAX_FIT_STEPS, MAX_SAMPLING_STEPS, Wish, defaults

if TYPE_CHECKING:
    from viser import ViserServer

    from ..diffusion.vocabulary import Vocabulary

PAUSE = 0.4
"""Seconds without typing after which a prompt is looked at."""
EXAMPLE = "a fox running"
KEEP_PROMPT = "(as typed)"


class CreatePanel:
    """Builds its elements in the current container. Uploads are kept in `runs`; `submit` takes a wish."""

    def __init__(
        self,
        server: ViserServer,
        *,
        runs: Runs,
        submit: Callable[[Wish], object],
        vocabulary: Vocabulary | None,
        weights: str | None = None,
    ) -> None:
        self._gui, self._submit = server.gui, submit
        self._vocabulary, self._weights = vocabulary, weights
        self._timer: threading.Timer | None = None
        self._looking = threading.Lock()
        self._defaults = defaults()
        self._build_prompt()
        self._source = SourcePanel(server, runs=runs, changed=self._on_source)
        self._build_settings()
        generate = self._gui.add_button(
            "Generate", color="teal", hint="Make it; a run takes one to two minutes on two cores"
        )
        self._note = self._gui.add_html("")
        generate.on_click(self._on_generate)

    def _build_prompt(self) -> None:
        self._prompt = self._gui.add_text("Prompt", EXAMPLE, multiline=False)
        self._warning = self._gui.add_html("")
        if self._vocabulary is not None and self._vocabulary.kinds:
            self._build_words(self._vocabulary)
        self._prompt.on_update(lambda _: self._look_soon())

    def _build_words(self, vocabulary: Vocabulary) -> None:
        """The words that the model knows, to choose from."""
        gui = self._gui
        with gui.add_folder("Known words", expand_by_default=False):
            gui.add_html(line(f"The model knows {len(vocabulary.kinds)} kinds of things; others come out as a blur."))
            kind = gui.add_dropdown("Kind", (KEEP_PROMPT, *vocabulary.kinds))
            motion: Any = gui.add_dropdown("Motion", (KEEP_PROMPT,))

        def compose() -> None:
            name = str(kind.value)
            if name in vocabulary.kinds:
                does = str(motion.value) if motion.value in vocabulary.kinds[name] else ""
                self._prompt.value = f"{with_article(name)} {does}".strip()

        @kind.on_update
        def _(_: Any) -> None:
            motion.options = (KEEP_PROMPT, *vocabulary.kinds.get(str(kind.value), ()))
            compose()

        motion.on_update(lambda _: compose())

    def _build_settings(self) -> None:
        gui, d = self._gui, self._defaults
        self._own_motion = gui.add_checkbox("Model chooses the motion", d["motion"] is None)
        self._motion = gui.add_slider(
            "Motion", min=0.0, max=1.0, step=0.05, initial_value=0.5 if d["motion"] is None else d["motion"],
            disabled=d["motion"] is None, hint="0: least, 1: most",
        )  # fmt: skip
        self._seed = gui.add_number("Seed", d["seed"], min=0, max=2**31 - 1, step=1)
        with gui.add_folder("Settings", expand_by_default=False):
            self._guidance = gui.add_slider("Guidance", min=1.0, max=10.0, step=0.5, initial_value=d["guidance_scale"])
            self._guidance_3d = gui.add_slider(
                "3D guidance", min=0.0, max=2.0, step=0.1, initial_value=d["guidance_3d"]
            )
            self._steps = gui.add_number(
                "Denoising steps",
                d["steps"] or 0,
                min=0,
                max=MAX_SAMPLING_STEPS,
                step=1,
                hint="0: as many as are enough",
            )
            self._fit_steps = gui.add_number(
                "Fit steps", d["fit_steps"] or 0, min=0, max=MAX_FIT_STEPS, step=1, hint="0: chosen by size"
            )
            self._size = gui.add_dropdown("Frame size", ("128", "96", "64"), initial_value=str(d["size"]))
            self._orbits = gui.add_slider("Orbits", min=1, max=4, step=1, initial_value=d["orbits"])
            self._static = gui.add_checkbox("Sample a static orbit, too", d["sample_static"])

        @self._own_motion.on_update
        def _(_: Any) -> None:
            self._motion.disabled = bool(self._own_motion.value)

    @property
    def inputs(self) -> set[str]:
        """Names of the uploads that are chosen."""
        return self._source.inputs

    def _on_source(self) -> None:
        if self._source.kind is not None and self._prompt.value == EXAMPLE:  # nobody's words: about another thing
            self._prompt.value = ""
        self._look_soon()

    def _look_soon(self) -> None:
        """Look at the prompt when nobody has typed for a moment: the text encoder takes its time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(PAUSE, self._look_at_prompt)
        self._timer.daemon = True
        self._timer.start()

    def _look_at_prompt(self) -> None:
        prompt = str(self._prompt.value).strip()
        warning = None
        if prompt and self._source.kind is None and self._vocabulary is not None:
            with self._looking:
                warning = self._vocabulary.warning(prompt[:300])
        if prompt == str(self._prompt.value).strip():
            self._warning.content = (
                line(warning.replace("`orbit4d vocabulary` lists all", "see Known words")) if warning else ""
            )

    def wish(self) -> Wish:
        """What the elements ask for. Raises InputError."""
        return Wish(
            **self._source.arguments(),
            prompt=str(self._prompt.value).strip() or None,
            motion=None if self._own_motion.value else number(self._motion.value, 0.5),
            guidance_scale=number(self._guidance.value, 2.0),
            guidance_3d=number(self._guidance_3d.value, 0.5),
            seed=int(number(self._seed.value, 0)),
            steps=int(number(self._steps.value, 0)) or None,
            size=int(str(self._size.value)) if str(self._size.value) in ("64", "96", "128") else 0,
            orbits=int(number(self._orbits.value, 1)),
            fit_steps=int(number(self._fit_steps.value, 0)) or None,
            sample_static=bool(self._static.value),
            weights=self._weights,
        )

    def _on_generate(self, _: Any) -> None:
        try:
            with self._source.lock:
                self._submit(self.wish())
            self._note.content = ""
        except InputError as error:
            self._note.content = problem(str(error))
