"""Fine-tune a pretrained network on real pictures of garments: the five lines of torte.

    uv run examples/quickstart.py

Nothing is downloaded: the pictures (a sample of Fashion-MNIST) come with torte, the weights
(EfficientNet-Lite0, trained on ImageNet) with a package. Pictures of what happens, and the trained
learner in one file, go to the folder `outputs`.
"""

import argparse
from pathlib import Path

import torch
from torte.vision.all import (
    ImageDataLoaders,
    Resize,
    URLs,
    accuracy,
    aug_transforms,
    get_image_files,
    load_learner,
    untar_data,
    vision_learner,
)


def main(epochs: int, size: int, outputs: Path) -> None:
    """Trains, shows, exports, loads back, predicts."""
    import matplotlib

    matplotlib.use("Agg")  # pictures go to files
    from matplotlib import pyplot as plt

    outputs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20)

    path = untar_data(URLs.FASHION_SAMPLE)
    dls = ImageDataLoaders.from_folder(
        path, item_tfms=Resize(size), batch_tfms=aug_transforms(max_warp=0), bs=32, seed=20
    )
    learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=accuracy, path=outputs)

    dls.show_batch()
    plt.savefig(outputs / "batch.png", bbox_inches="tight")
    learn.unfreeze()
    learn.fit_one_cycle(epochs, 4e-3)
    learn.show_results()
    plt.savefig(outputs / "results.png", bbox_inches="tight")

    exported = learn.export("garments.safetensors")
    picture = get_image_files(path / "valid")[0]
    name, number, probabilities = load_learner(exported).predict(picture)
    print(f"\n{picture.parent.name} predicted as {name}, probability {probabilities[number]:.2f}")
    print(f"pictures and learner: {', '.join(f.as_posix() for f in sorted(outputs.iterdir()))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fine-tune on garments.")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training pictures")
    parser.add_argument("--size", type=int, default=96, help="height and width of the pictures")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go")
    main(**vars(parser.parse_args()))
