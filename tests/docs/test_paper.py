"""The paper's listings: each stands on the page, in order, and what it computes is right."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/paper.md"

# What makes each listing the one that it is, in the order of the paper.
LISTINGS = {
    1: "ImageDataLoaders.from_name_re(", 2: "dls.show_batch(", 3: "learn.show_results(",
    4: "SegmentationDataLoaders.from_label_func(", 5: "learn.show_results(",
    6: "language_model_learner(", 7: "text_classifier_learner(", 8: "dls.show_batch(",
    9: "tabular_learner(", 10: "collab_learner(", 11: "learn.export(",
    12: "ImageBlock(cls=PILImageBW)", 13: "learn.lr_find(", 14: "MaskBlock(codes)",
    15: "BBoxLblBlock", 16: "TextBlock(vocab=make_vocab(count)", 17: "loss_func=F.nll_loss",
    18: "except CancelBatchException:", 19: "[weight_decay] if decouple_wd else [l2_reg]",
    20: "def lamb_step(", 21: "flatten_check(", 22: "Datasets(", 23: "MergeLayer()",
    24: "def f_td_test(", 25: "@delegates(Learner.__init__)", 26: "@patch",
    27: ".itemgot(1).map(abs)", 28: "class SiameseImage",
}  # fmt: skip

# What the namespace of the page must hold once all its cells ran.
CHECKS = """
losses = trained(Learner)
assert len(losses) > 5 and trained(PaperLearner) == losses
assert f_td_test(3, 2.0) == 5.0 and f_td_test(3, "a") == 4
ours, theirs = learn.recorder.values[-1][-2:]
assert 0 < ours < 1 and abs(ours - theirs) < 1e-6
assert lbl["0.jpg"][0] == [[0, 0, 48, 48]]
assert block(x).equal(block[:3](x) + x)
assert list(loader) == [6, 22, 17]
names = list(inspect.signature(short_tabular_learner).parameters)
assert names[:4] == ["dls", "layers", "emb_szs", "config"] and "opt_func" in names
assert Path("notes/one.txt").read_text() == "a line"
assert L((1, -3), (2, 5), (3, -7)).itemgot(1).map(abs).filter(lambda o: o > 4).sum() == 12

def stepped(make):
    weight = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
    optimizer = make([weight])
    for _ in range(5):
        (weight.sin() * torch.arange(12.0).reshape(3, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return weight.detach()

from torte.optim import Lamb
settings = {"betas": (0.9, 0.99), "eps": 1e-5, "weight_decay": 0.1}
for decoupled, peer in ((True, torch.optim.AdamW), (False, torch.optim.Adam)):
    mine = stepped(lambda p: paper_adam(p, lr=0.1, wd=0.1, decouple_wd=decoupled))
    torch.testing.assert_close(mine, stepped(lambda p: peer(p, lr=0.1, **settings)))
torch.testing.assert_close(stepped(lambda p: paper_lamb(p, lr=0.1, wd=0.1)),
                           stepped(lambda p: Lamb(p, lr=0.1, wd=0.1)))
"""


def cells(text: str) -> str:
    """The code of a page's cells, without their tags."""
    found = re.findall(r"^```\{code-cell\}.*\n(?::.*\n)*((?:.*\n)*?)```$", text, re.MULTILINE)
    return "\n".join(found)


def test_every_listing_of_the_paper_stands_on_the_page_in_order() -> None:
    _, *parts = re.split(r"^\*\*Listing (\d+)\.\*\*", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    found = dict(zip(map(int, parts[::2]), map(cells, parts[1::2]), strict=True))
    assert list(found) == list(LISTINGS)
    assert [number for number, words in LISTINGS.items() if words not in found[number]] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_listings_run_and_compute_what_they_should(tmp_path: Path) -> None:
    script = tmp_path / "listings.py"
    script.write_text(cells(PAGE.read_text("utf-8")) + CHECKS, encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "TORTE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
