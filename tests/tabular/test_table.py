"""Tables by the names and habits that users of fastai bring along."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.data import CategoryBlock, Normalize
from torte.tabular import (
    Categorify,
    FillMissing,
    TabDataLoader,
    TabularDataLoaders,
    TabularPandas,
    df_shrink,
    tabular_config,
    tabular_learner,
)

PROCS = [Categorify, FillMissing, Normalize]


@pytest.fixture
def df() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kind": ["x", "y", "x", None, "z", "y", "x", "y"],
            "size": [3, 1, 2, 3, 1, 2, 3, 1],
            "price": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, 9.0],
            "count": np.arange(1.0, 9.0),
            "y": ["p", "q"] * 4,
        }
    )


@pytest.fixture
def table(df) -> TabularPandas:
    splits = (range(6), range(6, 8))
    return TabularPandas(df, PROCS, ["kind", "size"], ["price", "count"], "y", splits=splits)


def test_parts_of_a_table_have_their_usual_names(table) -> None:
    names = ["kind", "size", "price_na", "price", "count", "y"]
    assert list(table.all_col_names) == names
    assert list(table.all_cols.columns) == names
    assert list(table.targ.columns) == ["y"]
    assert (table.n_subsets, table.split) == (2, 6)
    assert table.y.tolist() == [0, 1] * 4


@pytest.mark.parametrize("block", [CategoryBlock(), CategoryBlock], ids=["made", "to be made"])
def test_y_is_the_target_whatever_another_column_is_called(df, block) -> None:
    table = TabularPandas(df, [Categorify], ["kind"], ["count"], "size", y_block=block)
    assert table.y.tolist() == (df["size"] - 1).tolist()
    with pytest.raises(AttributeError, match="'y'"):
        _ = TabularPandas(df.drop(columns="y"), [Categorify], ["kind"], ["count"]).y


def test_names_have_their_codes_and_codes_their_names(table) -> None:
    words = table.classes["kind"]
    assert words.o2i == {"#na#": 0, "x": 1, "y": 2, "z": 3, "#unknown#": 4}
    assert all(words[code] == name for name, code in words.o2i.items())


def test_a_table_shows_what_went_in(table, df, capsys) -> None:
    table.show(max_n=2)
    processed = capsys.readouterr().out
    assert len(processed.splitlines()) == 3
    assert "1.0" in processed.splitlines()[1]
    assert "price_na" not in processed
    table.decode().show(max_n=2)
    assert capsys.readouterr().out == processed
    table.new(df).show(max_n=2)
    assert capsys.readouterr().out == processed


def test_a_row_is_decoded_alone(table, df) -> None:
    for place in (0, 2, 3):
        row = table.decode_row(table.items.iloc[place])
        expected = df.iloc[place]
        assert row["size"] == expected["size"]
        assert row["y"] == expected["y"]
        assert row["price"] == pytest.approx(expected["price"], nan_ok=True)
        assert row["kind"] == expected["kind"] or pd.isna(expected["kind"])


def test_loaders_take_arguments_for_each_part(table) -> None:
    dls = table.dataloaders(4, shuffle_train=False, val_shuffle=True)
    assert torch.equal(dls.one_batch()[0], torch.tensor(table.cats.to_numpy()[:4]))
    assert (dls.train.shuffle, dls.valid.shuffle) == (False, True)
    assert (dls.train.bs, dls.valid.bs) == (4, 4)
    dls = table.dataloaders(4, val_bs=1, n=5, dl_kwargs=[{"drop_last": False}, {"bs": 2}])
    assert [len(batch[0]) for batch in dls.train] == [4, 1]
    assert dls.valid.bs == 2
    assert TabDataLoader(table.train).bs == 16


def test_a_table_says_where_its_batches_go(df) -> None:
    table = TabularPandas(df, [Categorify], ["kind"], ["count"], "y", device="meta")
    assert table.dataloaders(4).device == torch.device("meta")


def test_small_types_are_taken_and_the_frame_is_left_alone(df) -> None:
    before = df.copy()
    table = TabularPandas(df, [], [], ["price", "count"], reduce_memory=True, inplace=True)
    assert table.items.dtypes[["price", "count"]].astype(str).tolist() == ["float32", "float32"]
    pd.testing.assert_frame_equal(df, before)


def test_columns_of_numbers_without_a_role_are_continuous(df) -> None:
    dls = TabularDataLoaders.from_df(
        df.assign(text="t"), procs=PROCS, cat_names=["kind"], y_names="y", valid_idx=[6, 7], bs=2
    )
    assert list(dls.cont_names) == ["size", "price", "count"]


def test_a_predicted_row_can_be_shown(table, df, capsys) -> None:
    learn = tabular_learner(table.dataloaders(bs=3), layers=[4])
    row, label, chances = learn.predict(df.iloc[0])
    row.show()
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["kind", "size", "price", "count", "y"]
    assert shown[1].split()[1:] == ["x", "3", "1.0", "1.0", table.vocab[int(label)]]
    assert row.items.shape == (1, 5)
    assert chances.shape == (2,)


def test_the_range_of_outputs_may_be_in_the_config(table) -> None:
    dls = table.dataloaders(bs=3)
    for y_range, expected in ((None, 2), ((0, 5), 5)):
        learn = tabular_learner(dls, [4], config=tabular_config(y_range=(0, 2)), y_range=y_range)
        assert learn.model.layers[-1].high == expected


def test_numbers_beyond_float32_stay_finite() -> None:
    shrunk = df_shrink(pd.DataFrame({"large": [1e300, 1.0], "small": [np.inf, 1.0]}))
    assert shrunk.dtypes.astype(str).tolist() == ["float64", "float32"]
    assert shrunk["large"][0] == 1e300
