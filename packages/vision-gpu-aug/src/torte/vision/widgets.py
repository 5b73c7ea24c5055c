"""Widgets for Jupyter: going through images, the worst losses first, to delete or relabel them.

Needs ipywidgets: `pip install "torte-vision-gpu-aug[notebook]"`.
"""

import html
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from torte.data.images import PILImage
from torte.dispatch import L
from torte.learner.learner import Learner

__all__ = ["ImageClassifierCleaner", "ImagesCleaner"]

KEEP, DELETE = "<Keep>", "<Delete>"


def _widgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError(
            'this widget needs ipywidgets: pip install "torte-vision-gpu-aug[notebook]"'
        ) from error
    return ipywidgets


class ImagesCleaner:
    """A row of images in a notebook, each with a menu: keep it, delete it, or one of `opts`.

    It changes no file: `delete()` and `change()` say what was chosen.

    Args:
        opts: More choices, such as the names of the classes.
        height: Largest height of an image in pixels.
        width: Largest width.
        max_n: How many images at most.

    Raises:
        ImportError: If ipywidgets is not installed.
    """

    def __init__(
        self, opts: Iterable[str] = (), height: int = 128, width: int = 256, max_n: int = 30
    ) -> None:
        self.opts = (KEEP, DELETE, *map(str, opts))
        self.height, self.width, self.max_n = height, width, max_n
        self.fns: L = L()
        """What is shown: files, or other items that an image can be made of."""
        self._menus: list[Any] = []
        self.widget: Any = _widgets().HBox(
            layout={"overflow": "auto hidden", "align_items": "flex-end", "width": "100%"}
        )
        """The row, a widget to place in others."""

    def set_fns(self, fns: Iterable[Any]) -> None:
        """Show the first `max_n` of some files, all to be kept."""
        widgets = _widgets()
        self.fns = L(list(fns)[: self.max_n])
        self._menus = [
            widgets.Dropdown(options=self.opts, value=KEEP, layout={"width": "max-content"})
            for _ in self.fns
        ]
        shown = [
            widgets.VBox([self._picture(fn), menu], layout={"flex": "0 0 auto"})
            for fn, menu in zip(self.fns, self._menus, strict=True)
        ]
        self.widget.children = shown

    def _picture(self, fn: Any) -> Any:
        widgets = _widgets()
        try:
            image = PILImage.create(fn)
        except (OSError, ValueError) as error:
            # A file that cannot be read is one to delete: it must be seen.
            return widgets.HTML(f"<b>{html.escape(str(fn))}</b><br>{html.escape(str(error))}")
        image.thumbnail((self.width, self.height))
        data = BytesIO()
        image.save(data, "PNG")
        layout = {"width": f"{image.width}px", "height": f"{image.height}px"}
        return widgets.Image(value=data.getvalue(), format="png", layout=layout)

    def values(self) -> list[str]:
        """Return what is chosen for each image shown."""
        return [menu.value for menu in self._menus]

    def delete(self) -> list[int]:
        """Return the numbers, in `fns`, of the images to delete."""
        return [at for at, value in enumerate(self.values()) if value == DELETE]

    def change(self) -> list[tuple[int, str]]:
        """Return `(number in fns, new choice)` of the images that are to be relabelled."""
        return [
            (at, value) for at, value in enumerate(self.values()) if value not in (KEEP, DELETE)
        ]

    def _view(self) -> Any:
        return self.widget

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._view()._repr_mimebundle_(**kwargs)


class ImageClassifierCleaner(ImagesCleaner):
    """An `ImagesCleaner` of a classifier's data: choose a class and a set, the worst come first.

    For each set, losses are computed when it is first chosen; the learner is left as it was::

        cleaner = ImageClassifierCleaner(learn)
        cleaner
        ...
        for at in cleaner.delete():
            cleaner.fns[at].unlink()
        for at, name in cleaner.change():
            shutil.move(cleaner.fns[at], path / name)

    Args:
        learn: The learner, whose data have one vocabulary.
        **kwargs: For `ImagesCleaner`; `opts` are the classes by default.

    Raises:
        ValueError: If the data have no classes.
    """

    def __init__(self, learn: Learner, **kwargs: Any) -> None:
        vocab = list(getattr(learn.dls, "vocab", None) or ())
        if not vocab:
            raise ValueError("the learner's data name no classes: there is nothing to clean")
        super().__init__(**{"opts": vocab, **kwargs})
        self.learn, self.vocab = learn, vocab
        self._ranked: dict[int, list[tuple[Any, int]]] = {}
        widgets = _widgets()
        self._category = widgets.Dropdown(options=[str(name) for name in vocab])
        self._set = widgets.Dropdown(options=[("Train", 0), ("Valid", 1)])
        for menu in (self._category, self._set):
            menu.observe(self._choose, names="value")
        self._box = widgets.VBox([self._category, self._set, self.widget])
        self._choose()

    def _choose(self, change: Any = None) -> None:
        """Show the images of the class and the set chosen, the largest loss first."""
        ranked, wanted = self._items_by_loss(self._set.value), self._category.index
        self.set_fns(item for item, number in ranked if number == wanted)

    def _items_by_loss(self, ds_idx: int) -> list[tuple[Any, int]]:
        """A set's items with their classes' numbers, the largest loss first."""
        loader = self.learn.loader(ds_idx)
        if ds_idx not in self._ranked and loader is not None:
            loader = loader.new(shuffle=False, drop_last=False)
            _, targets, losses = self.learn.get_preds(dl=loader, with_loss=True, with_preds=False)
            pairs = list(zip(loader.items, targets.tolist(), strict=True))
            order = losses.argsort(descending=True).tolist()
            self._ranked[ds_idx] = [pairs[at] for at in order]
        return self._ranked.get(ds_idx, [])

    def _view(self) -> Any:
        return self._box
