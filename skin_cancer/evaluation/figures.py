"""Every figure of the notebooks, in one look; a diagnosis has one colour everywhere.

Each function returns a matplotlib figure that is already closed, so that a notebook shows it
once, as the value of its cell.
"""

import io
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from skin_cancer.diagnoses import BY_CODE

HEATMAP = "viridis"  # as in the app
WIDTH = 9.0

sns.set_theme(
    style="whitegrid",
    palette="colorblind",
    rc={"figure.dpi": 80, "axes.titlesize": "medium", "axes.titlelocation": "left"},
)


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _closed(figure):
    figure.tight_layout()
    plt.close(figure)
    return figure


def _codes(values):
    """Return the ISIC codes that occur, in ISIC order."""
    return [code for code in BY_CODE if code in set(values)]


def diagnosis_counts(table: pd.DataFrame) -> Figure:
    """Draw how many images and lesions each diagnosis has, on a logarithmic scale."""
    codes = _codes(table["diagnosis"])
    images = table["diagnosis"].value_counts()[codes]
    lesions = table.groupby("diagnosis")["lesion_id"].nunique()[codes]
    names = [f"{BY_CODE[code].name} ({code})" for code in codes]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    axes.barh(
        names, images, color=[BY_CODE[code].colour for code in codes], alpha=0.45, label="images"
    )
    axes.barh(
        names, lesions, color=[BY_CODE[code].colour for code in codes], height=0.45, label="lesions"
    )
    for i, code in enumerate(codes):
        text = f" {images[code]:,} images, {lesions[code]:,} lesions"
        axes.text(images[code], i, text, va="center", fontsize="small")
    axes.set(xscale="log", xlabel="number (logarithmic); narrow bar: lesions, wide bar: images")
    axes.set_xlim(1, images.max() * 40)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return _closed(figure)


def counts(values: pd.Series, label: str) -> Figure:
    """Draw how many lesions have each value, in the order of the values."""
    found = values.value_counts().sort_index()
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    bars = axes.bar(found.index.astype(str), found, color=sns.color_palette()[0])
    axes.bar_label(bars, fmt="{:,.0f}", fontsize="small")
    axes.set(xlabel=label, ylabel="number of lesions")
    axes.grid(axis="x", visible=False)
    return _closed(figure)


def ages(table: pd.DataFrame) -> Figure:
    """Draw the ages of the patients of each diagnosis."""
    codes = _codes(table.loc[table["age"].notna(), "diagnosis"])
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    _boxes(axes, table, "age", codes)
    axes.set(xlabel="diagnosis", ylabel="age (years)")
    return _closed(figure)


def _boxes(axes, frame, column, codes):
    sns.boxplot(
        frame[frame["diagnosis"].isin(codes)],
        x="diagnosis",
        y=column,
        order=codes,
        hue="diagnosis",
        palette={code: BY_CODE[code].colour for code in codes},
        legend=False,
        flierprops={"markersize": 2},
        ax=axes,
    )


def shares(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Draw for each diagnosis which share of its rows has which value; missing is a value too."""
    codes = _codes(table["diagnosis"])[::-1]
    figure, all_axes = plt.subplots(
        1, len(columns), figsize=(WIDTH, 3.4), sharey=True, squeeze=False
    )
    for axes, column in zip(all_axes[0], columns, strict=True):
        values = table[column].astype(object).where(table[column].notna(), "missing")
        part = pd.crosstab(table["diagnosis"], values, normalize="index").loc[codes]
        part = part[[c for c in part if c != "missing"] + ["missing"] * ("missing" in part)]
        colours = dict(zip(part, sns.color_palette("colorblind"), strict=False))
        colours["missing"] = "lightgrey"
        part.plot.barh(stacked=True, ax=axes, width=0.85, color=colours, legend=False)
        axes.set(title=f"{column}, share of lesions", xlabel="", ylabel="", xlim=(0, 1))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize="x-small")
    return _closed(figure)


def sites(table: pd.DataFrame) -> Figure:
    """Draw where on the body the lesions of each diagnosis are, as shares of its known sites."""
    part = pd.crosstab(table["diagnosis"], table["localization"], normalize="index")
    part = part.loc[_codes(part.index)]
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    sns.heatmap(
        100 * part,
        annot=True,
        fmt=".0f",
        cmap="Blues",
        annot_kws={"fontsize": "small"},
        cbar_kws={"label": "% of the diagnosis"},
        ax=axes,
    )
    axes.set(xlabel="site", ylabel="")
    axes.tick_params(axis="x", rotation=60)
    axes.tick_params(axis="y", rotation=0)
    return _closed(figure)


def gallery(
    images: Sequence[np.ndarray],
    titles: Iterable[str],
    columns: int = 4,
    outlines: Iterable[np.ndarray | None] | None = None,
    points: Iterable[np.ndarray] | None = None,
) -> Figure:
    """Show images in a grid, each with its title and, if given, its lesion's outline or points.

    Args:
        images: RGB or grey arrays.
        titles: one an image.
        columns: images in a row.
        outlines: one bool mask (height, width) or None an image.
        points: one array (n, 2) of x and y in pixels an image.
    """
    rows = -(-len(images) // columns)
    height, width = images[0].shape[:2]
    tile = WIDTH / columns
    size = (WIDTH, rows * (tile * height / width + 0.32))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    masks = outlines if outlines is not None else [None] * len(images)
    for axis, image, title, mask in zip(axes.flat, images, titles, masks, strict=False):
        axis.imshow(image, cmap="gray")
        axis.set_title(title, fontsize="small")
        if mask is not None:
            _outline(axis, mask)
    for axis, places in zip(axes.flat, points if points is not None else (), strict=False):
        axis.scatter(*places.T, s=12, facecolors="none", edgecolors="white", linewidths=0.8)
    return _closed(figure)


def _outline(axis, mask):
    """Draw the border of a mask so that it is seen on light and on dark ground."""
    if mask.any():
        axis.contour(mask, levels=[0.5], colors="black", linewidths=2.2)
        axis.contour(mask, levels=[0.5], colors="white", linewidths=1.0)


def by_diagnosis(frame: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Draw the distribution of each column within each diagnosis."""
    codes = _codes(frame["diagnosis"])
    rows = -(-len(columns) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(WIDTH, 2.7 * rows), squeeze=False)
    for axis in axes.flat[len(columns) :]:
        axis.axis("off")
    for axis, column in zip(axes.flat, columns, strict=False):
        _boxes(axis, frame, column, codes)
        axis.set(xlabel="", ylabel=column)
        axis.tick_params(axis="x", labelsize="small")
    return _closed(figure)


def histogram(values: pd.Series | np.ndarray, label: str) -> Figure:
    """Draw the distribution of a number over the images, with its median."""
    figure, axes = plt.subplots(figsize=(WIDTH / 1.5, 2.6))
    sns.histplot(values, bins=30, ax=axes, color=sns.color_palette()[0])
    median = float(np.median(values))
    axes.axvline(median, color="black", linestyle="--", label=f"median {median:.2f}")
    axes.set(xlabel=label, ylabel="number of images")
    axes.legend()
    return _closed(figure)


def learning_curves(history: pd.DataFrame) -> Figure:
    """Draw loss, accuracy and size of the crops over the epochs of a training."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.8))
    epochs = history["epoch"]
    left.plot(epochs, history["loss"], "o-")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="loss on augmented images")
    middle.plot(epochs, history["accuracy"], "o-", label="accuracy, training")
    if "validation_balanced_accuracy" in history:
        middle.plot(
            epochs, history["validation_balanced_accuracy"], "s--", label="balanced, validation"
        )
    middle.set(xlabel="epoch", ylim=(0, 1), title="two accuracies, not comparable")
    middle.legend(fontsize="x-small")
    right.step(epochs, history["size"], where="mid")
    right.set(xlabel="epoch", ylabel="pixels", title="side of the crops")
    for axes in (left, middle, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _closed(figure)


def confusion(measured: dict) -> Figure:
    """Draw the confusion matrix of `metrics.measure`: shares of each true diagnosis."""
    matrix = pd.DataFrame(measured["confusion"]).T
    share = matrix.div(matrix.sum(axis=1), axis=0)
    figure, axes = plt.subplots(figsize=(WIDTH / 1.5, 4.6))
    sns.heatmap(
        100 * share,
        annot=matrix,
        fmt="d",
        cmap="Blues",
        vmin=0,
        vmax=100,
        cbar_kws={"label": "% of the true diagnosis"},
        ax=axes,
    )
    axes.set(xlabel="answer", ylabel="true diagnosis", title="number of images")
    axes.tick_params(axis="y", rotation=0)
    return _closed(figure)


def recalls(measured: dict) -> Figure:
    """Draw recall, with its interval, and precision of each diagnosis."""
    classes = measured["classes"]
    codes = list(classes)
    figure, axes = plt.subplots(figsize=(WIDTH, 3))
    for i, code in enumerate(codes):
        recall = classes[code]["recall"]
        axes.bar(i, recall["value"], color=BY_CODE[code].colour)
        axes.vlines(i, recall["low"], recall["high"], color="black")
        axes.plot(i + 0.25, classes[code]["precision"], "D", color="black", markersize=5)
    mean = measured["measures"]["balanced accuracy"]["value"]
    axes.axhline(mean, linestyle="--", color="grey")
    axes.text(len(codes) - 0.45, mean, f"balanced\naccuracy\n{mean:.2f}", va="bottom")
    axes.set_xticks(range(len(codes)), codes)
    axes.set(ylim=(0, 1), ylabel="recall (bar), precision (diamond)", xlim=(-0.6, len(codes) + 0.5))
    axes.grid(axis="x", visible=False)
    return _closed(figure)


def roc_and_precision(truth: np.ndarray, probabilities: np.ndarray, codes: Sequence[str]) -> Figure:
    """Draw, for each diagnosis against the others, the ROC and the precision-recall curve.

    Args:
        truth: int (images,), columns of the true diagnoses.
        probabilities: float (images, diagnoses).
        codes: ISIC codes of the columns.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 4.4))
    for i, code in enumerate(codes):
        for display, axes in ((RocCurveDisplay, left), (PrecisionRecallDisplay, right)):
            look = {"curve_kwargs": {"color": BY_CODE[code].colour}, "name": code, "ax": axes}
            display.from_predictions(truth == i, probabilities[:, i], **look)
    left.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC, one against the rest")
    right.set(xlabel="recall", ylabel="precision", title="precision and recall")
    for axes in (left, right):
        axes.legend(fontsize="x-small", loc="lower right" if axes is left else "lower left")
    return _closed(figure)


def reliability(bins: dict[str, pd.DataFrame], errors: pd.DataFrame) -> Figure:
    """Draw reliability diagrams, one panel a prior.

    Args:
        bins: prior to what `confidence.reliability` returns under it.
        errors: as `confidence.calibration` returns them.
    """
    figure, all_axes = plt.subplots(1, len(bins), figsize=(WIDTH, 4.2), sharey=True, squeeze=False)
    for axes, (prior, table) in zip(all_axes[0], bins.items(), strict=True):
        axes.plot([0, 1], [0, 1], "--", color="grey", label="as sure as right")
        sizes = 15 + 300 * table["share"] / table["share"].max()
        axes.plot(table["confidence"], table["accuracy"], color=sns.color_palette()[0])
        axes.scatter(
            table["confidence"], table["accuracy"], s=sizes, alpha=0.6, label="share (by area)"
        )
        found = errors.loc[prior]
        title = f"{prior} prior: error {found['expected calibration error']:.3f}"
        axes.set(title=f"{title}, floor {found['floor']:.3f}", xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel("mean confidence of the answer")
    all_axes[0, 0].set_ylabel("share of right answers")
    all_axes[0, 0].legend(fontsize="small", loc="upper left")
    return _closed(figure)


def coverage(table: pd.DataFrame, aim: float) -> Figure:
    """Draw how often prediction sets hold the true diagnosis, and how large they are.

    Args:
        table: as `metrics.coverage` returns it.
        aim: the share that is promised.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH, 0.34 * len(table) + 1), width_ratios=(3, 2), sharey=True
    )
    rows, value = range(len(table)), table["coverage"]
    spread = [(value - table["low"]).clip(0), (table["high"] - value).clip(0)]
    left.errorbar(value, rows, xerr=spread, fmt="o", capsize=3)
    left.axvline(aim, color="grey", linestyle="--", linewidth=1)
    labels = [f"{code} ({n:,})" for code, n in table["images"].items()]
    left.set_yticks(rows, labels, fontsize="small")
    left.set(xlabel="sets that hold the true diagnosis, 95 % interval", xlim=(0, 1.02))
    left.set(ylabel="true diagnosis (images)", ylim=(len(table) - 0.5, -0.5))
    right.barh(rows, table["set size"], height=0.6)
    right.set(xlabel="mean number of diagnoses in a set")
    return _closed(figure)


def sensitivity(malignant: np.ndarray, score: np.ndarray, points: pd.DataFrame) -> Figure:
    """Draw the ROC curve of malignancy with thresholds that were set on other images.

    Args:
        malignant: bool (images,).
        score: float (images,), probability of malignant or precursor.
        points: as `metrics.at_thresholds` returns them.
    """
    figure, axes = plt.subplots(figsize=(WIDTH / 2, 4))
    RocCurveDisplay.from_predictions(malignant, score, ax=axes, name="malignant or precursor")
    axes.errorbar(
        1 - points["specificity"],
        points["sensitivity"],
        xerr=_reach(points, "specificity")[::-1],
        yerr=_reach(points, "sensitivity"),
        fmt="o",
        color="black",
        capsize=3,
        label="set at 90, 95, 98 % elsewhere",
    )
    axes.set(xlabel="1 - specificity: benign called malignant", ylabel="sensitivity")
    axes.legend(fontsize="x-small", loc="lower right")
    return _closed(figure)


def _reach(points, name):
    """Return how far the interval reaches below and above: (2, rows)."""
    value = points[name]
    return np.array([value - points[f"{name}, low"], points[f"{name}, high"] - value]).clip(0)


def groups(tables: dict[str, pd.DataFrame]) -> Figure:
    """Draw the mean recall of groups with its interval, one panel a grouping."""
    heights = [len(table) for table in tables.values()]
    figure, all_axes = plt.subplots(
        len(tables),
        1,
        figsize=(WIDTH, 0.34 * sum(heights) + 0.75 * len(tables)),
        height_ratios=heights,
        sharex=True,
        squeeze=False,
    )
    for axes, (name, table) in zip(all_axes[:, 0], tables.items(), strict=True):
        value = table["mean recall"]
        spread = [(value - table["low"]).clip(0), (table["high"] - value).clip(0)]
        axes.errorbar(value, range(len(table)), xerr=spread, fmt="o", capsize=3)
        labels = [f"{group} ({n:,})" for group, n in table["images"].items()]
        axes.set_yticks(range(len(table)), labels, fontsize="small")
        axes.set(title=f"by {name} (images)", xlim=(0, 1.02), ylim=(len(table) - 0.5, -0.5))
    axes.set_xlabel("mean recall of the diagnoses that occur, 95 % interval")
    return _closed(figure)


def distortions(table: pd.DataFrame) -> Figure:
    """Draw what distorting the pictures changes, with its interval, and how many answers stay.

    Args:
        table: as `evaluation.robustness` returns it.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH, 0.34 * len(table) + 1), width_ratios=(3, 2), sharey=True
    )
    rows, change = range(len(table)), table["change"]
    spread = [(change - table["low"]).clip(0), (table["high"] - change).clip(0)]
    left.errorbar(change, rows, xerr=spread, fmt="o", capsize=3)
    left.axvline(0, color="grey", linewidth=1)
    left.set_yticks(rows, table.index, fontsize="small")
    left.set(xlabel="change of the mean recall, 95 % interval", ylim=(len(table) - 0.5, -0.5))
    right.barh(rows, table["agreement"], height=0.6)
    right.set(xlabel="share of answers that stay", xlim=(0, 1))
    return _closed(figure)


def beside_heatmaps(
    images: Sequence[np.ndarray], maps: Sequence[np.ndarray], titles: Iterable[str], pairs: int = 3
) -> Figure:
    """Show images in a grid, each with a heatmap over it beside it.

    Args:
        images: RGB arrays, square.
        maps: one heatmap in [0, 1] an image, of its size.
        titles: one an image, of two lines.
        pairs: images in a row.
    """
    rows, tile = -(-len(images) // pairs), WIDTH / pairs / 2
    size = (WIDTH, rows * (tile + 0.5))
    figure, axes = plt.subplots(rows, 2 * pairs, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, (image, heatmap, title) in enumerate(zip(images, maps, titles, strict=True)):
        plain, covered = axes.flat[2 * i : 2 * i + 2]
        plain.imshow(image)
        plain.set_title(title, fontsize="small", parse_math=False)  # it may be any file's name
        covered.imshow(image)
        covered.imshow(heatmap, cmap=HEATMAP, vmin=0, vmax=1, alpha=0.25 + 0.6 * heatmap)
    return _closed(figure)


def heatmaps(
    image: np.ndarray, maps: dict[str, np.ndarray], mask: np.ndarray | None = None, columns: int = 5
) -> Figure:
    """Show a picture and heatmaps over it, with the lesion's outline.

    Args:
        image: uint8 RGB (size, size, 3).
        maps: title to float (size, size) in [0, 1].
        mask: bool (size, size) or None.
        columns: pictures in a row.
    """
    rows = -(-(len(maps) + 1) // columns)
    tile = WIDTH / columns
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * (tile + 0.3)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    axes.flat[0].imshow(image)
    axes.flat[0].set_title("picture", fontsize="small")
    for axis, (title, heatmap) in zip(axes.flat[1:], maps.items(), strict=False):
        axis.imshow(image)
        axis.imshow(heatmap, cmap=HEATMAP, vmin=0, vmax=1, alpha=0.25 + 0.6 * heatmap)
        axis.set_title(title, fontsize="small")
    if mask is not None:
        for axis in axes.flat[: len(maps) + 1]:
            _outline(axis, mask)
    return _closed(figure)


def faithfulness(curves: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Draw mean deletion and insertion curves, one line a method.

    Args:
        curves: `deletion` and `insertion`, each method to float (steps + 1,).
    """
    figure, all_axes = plt.subplots(1, len(curves), figsize=(WIDTH, 3.6), sharey=True)
    markers = "osD^v<>pX*"
    for axes, (name, lines) in zip(all_axes, curves.items(), strict=True):
        for marker, (method, curve) in zip(markers, lines.items(), strict=False):
            share = np.linspace(0, 100, len(curve))
            axes.plot(share, curve, marker=marker, markevery=4, markersize=5, label=method)
        axes.set(title=name, xlabel="% of the pixels, most important first", ylim=(0, 1))
    all_axes[0].set_ylabel("probability of the diagnosis")
    all_axes[-1].legend(fontsize="x-small", bbox_to_anchor=(1, 1), loc="upper left")
    return _closed(figure)


def lines(frame: pd.DataFrame, label: str, ylabel: str) -> Figure:
    """Draw one line a column over the rows."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3))
    sns.lineplot(frame, markers=True, dashes=True, markersize=8, ax=axes)
    axes.set(xlabel=label, ylabel=ylabel)
    axes.tick_params(axis="x", labelsize="small")
    axes.legend(fontsize="small", bbox_to_anchor=(1, 1), loc="upper left")
    return _closed(figure)


def timings(table: pd.DataFrame, unit: str) -> Figure:
    """Draw the medians of calls with their quartiles, and how they compare with the first.

    Args:
        table: as `benchmarks.compared` returns it.
        unit: of the medians, for the axis.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.36 * len(table)))
    spread = [table["median"] - table["from"], table["to"] - table["median"]]
    colours = ["C0", *["C7"] * (len(table) - 1)]
    axes.barh(table.index, table["median"], xerr=spread, color=colours, ecolor="0.2")
    for i, (end, ratio) in enumerate(zip(table["to"], table["ratio"], strict=True)):
        axes.text(end * 1.08, i, f"{ratio:.2g} x", va="center", fontsize="small")
    axes.set(xscale="log", xlabel=f"{unit}, logarithmic; whiskers: quartiles; x: times the first")
    axes.set_xlim(table["from"].min() / 2, table["to"].max() * 3)
    axes.xaxis.set_minor_formatter("")
    axes.invert_yaxis()
    return _closed(figure)


def scaling(rates: pd.Series, single: float) -> Figure:
    """Draw how scoring an archive grows with the processes that do it.

    Args:
        rates: images a second, by the number of processes.
        single: images a second of a loop in one thread.
    """
    figure, axes = plt.subplots(figsize=(WIDTH / 2, 3.2))
    axes.plot(rates.index, single * rates.index, "--", color="0.4", label="one thread, times these")
    axes.plot(rates.index, rates, "o-", label="measured")
    axes.set(xlabel="processes", ylabel="images a second", xticks=rates.index, ylim=(0, None))
    axes.legend()
    return _closed(figure)


def growth(table: pd.DataFrame) -> Figure:
    """Draw what a picture costs, and how much memory a process needs, as an archive grows.

    Args:
        table: columns `images`, `images a second` and `memory` in MB.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3))
    left.plot(table["images"], 1000 / table["images a second"], "o-")
    right.plot(table["images"], table["memory"], "o-")
    left.set(ylabel="milliseconds a picture")
    right.set(ylabel="memory of the largest process, MB")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="pictures in the archive", ylim=(0, None))
    return _closed(figure)


def crowd(table: pd.DataFrame) -> Figure:
    """Draw how long visitors wait who come at once.

    Args:
        table: seconds until the last one has the page; rows by the number of visitors, a column
            for each kind of page.
    """
    figure, axes = plt.subplots(figsize=(WIDTH / 2, 3.2))
    for name, style in zip(table, ("o-", "s--", "^:"), strict=False):
        axes.plot(table.index, table[name], style, label=name)
    axes.set(xlabel="visitors at once", ylabel="seconds until the last has the page")
    axes.set(ylim=(0, None), xticks=table.index)
    axes.legend()
    return _closed(figure)


def malignancies(table: pd.DataFrame, thresholds: dict[float, float]) -> Figure:
    """Draw how the probabilities of malignancy spread over an archive.

    Args:
        table: with the column `malignancy`, 0 to 1.
        thresholds: sensitivity aimed at to the threshold to mark; may be empty.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3))
    axes.hist(table["malignancy"], bins=np.linspace(0, 1, 41).tolist(), color="C0")
    for (aim, value), style in zip(thresholds.items(), ("-", "--", ":"), strict=False):
        above = (table["malignancy"] >= value).sum()
        axes.axvline(value, color="C3", linestyle=style, label=f"{aim:.0%}: {above:,} suspicious")
    axes.set(xlabel="probability of malignancy", ylabel="pictures", xlim=(0, 1))
    axes.set(yscale="symlog", ylim=(0, None))
    if thresholds:
        axes.legend(title="threshold to find", loc="upper left", bbox_to_anchor=(1, 1))
    return _closed(figure)
