"""Texts tokenized by Hugging Face's tokenizers, as they do it themselves."""

import multiprocessing
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming import text as texts_module

tokenizers = pytest.importorskip("tokenizers")

WORDNET_GLOSSES = Path(__file__).parents[2] / "examples/data/wordnet_glosses.parquet"


def glosses(rows):
    tokens = pq.ParquetFile(WORDNET_GLOSSES).read_row_group(0)["tokens"][:rows]
    return pc.binary_join(tokens, " ").combine_chunks()


def byte_pairs():
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600, show_progress=False, special_tokens=["<s>", "</s>"]
    )
    made.train_from_iterator(glosses(1000).to_pylist(), trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made


def word_pieces():
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=400, show_progress=False, special_tokens=["[UNK]"]
    )
    made.train_from_iterator(glosses(1000).to_pylist(), trainer)
    return made


TOKENIZERS = {"byte pairs": byte_pairs(), "word pieces": word_pieces()}
BPE = TOKENIZERS["byte pairs"]
TEXTS = st.lists(st.none() | st.text(max_size=12) | st.just("the act of a wörd 🙂"), max_size=9)


def copy_of(tokenizer):
    return tokenizers.Tokenizer.from_str(tokenizer.to_str())


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(rows=TEXTS, special=st.booleans(), pieces=st.sampled_from([1, 3, 8192]))
def test_ids_and_offsets_are_the_tokenizers_own(kind, rows, special, pieces):
    tokenizer = TOKENIZERS[kind]
    table = pa.table({"t": pa.array(rows, pa.string())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts_module, "_PIECE_ROWS", pieces)
        stream = rm.stream(table).tokenize(
            "t", tokenizer, "t", offsets="spans", special_tokens=special, dtype=np.uint16
        )
        made = stream.to_arrow()
        plain = rm.stream(table).tokenize("t", tokenizer, special_tokens=special).to_arrow()
    own = [
        None if text is None else tokenizer.encode(text, add_special_tokens=special)
        for text in rows
    ]
    ids = [None if one is None else one.ids for one in own]
    assert made["t"].to_pylist() == plain["ids"].to_pylist() == ids
    spans = [None if one is None else [*map(list, one.offsets)] for one in own]
    assert made["spans"].to_pylist() == spans


def test_large_texts_are_encoded_piece_by_piece(monkeypatch):
    monkeypatch.setattr(texts_module, "_PIECE_BYTES", 1000)
    table = pa.table({"t": glosses(2000)})
    made = rm.stream(table).tokenize("t", BPE).to_arrow()["ids"].to_pylist()
    assert made == [one.ids for one in BPE.encode_batch(table["t"].to_pylist())]


def test_packed_in_the_same_pass():
    table = pa.table({"t": glosses(500)})
    own = [one.ids for one in BPE.encode_batch(table["t"].to_pylist())]
    stream = rm.stream(table).tokenize("t", BPE, offsets="spans").pack(256, "ids").batch(rows=8)
    found = {}
    for batch in stream:
        assert batch["spans"].lengths.tolist() == batch["ids"].lengths.tolist()
        ids = np.concatenate(batch["ids"].to_rows())
        for row in np.unique(numbers := np.concatenate(batch["row_ids"].to_rows())):
            found[int(row)] = ids[numbers == row].tolist()
    assert [found[row] for row in range(500)] == own


# -- tokenizers of each kind --------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    BPE.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


TABLE = pa.table({"t": ["the act of acting", None, "a b c d e f g"]})
IDS = [None if text is None else BPE.encode(text).ids for text in TABLE["t"].to_pylist()]


def ids_by(tokenizer, **options):
    return rm.stream(TABLE).tokenize("t", tokenizer, **options).to_arrow()["ids"].to_pylist()


def test_a_path_or_its_folder(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    for given_ in (str(path), path, path.parent, "tokenizer.json"):
        assert ids_by(given_) == IDS


def test_one_of_transformers_truncates_by_its_calls_alone():
    backend = copy_of(BPE)
    backend.enable_truncation(3)
    backend.enable_padding(length=50)
    assert ids_by(SimpleNamespace(backend_tokenizer=backend)) == IDS
    assert (backend.truncation["max_length"], backend.padding["length"]) == (3, 50)


def test_one_that_pads_and_truncates_only_truncates():
    mine = copy_of(BPE)
    mine.enable_truncation(3)
    mine.enable_padding(length=50)
    cut = [ids and [*ids[:2], ids[-1]] for ids in IDS]
    assert ids_by(mine) == cut
    assert mine.padding["length"] == 50


def test_what_is_set_later_changes_no_stream():
    mine = copy_of(BPE)
    stream = rm.stream(TABLE).tokenize("t", mine)
    mine.enable_truncation(1)
    assert stream.to_arrow()["ids"].to_pylist() == IDS


def test_special_tokens_in_a_text_as_text():
    mine = copy_of(BPE)
    mine.encode_special_tokens = True
    table = pa.table({"t": ["a</s>b"]})
    stream = rm.stream(table).tokenize("t", mine)
    for one in (stream, pickle.loads(pickle.dumps(stream))):
        assert one.to_arrow()["ids"].to_pylist() == [mine.encode("a</s>b").ids]
    assert mine.encode("a</s>b").ids != BPE.encode("a</s>b").ids


def test_pickled_with_the_stream(path):
    for given_ in (BPE, path):
        stream = rm.stream(TABLE).tokenize("t", given_).batch(rows=1)
        state = next(iter(stream)).state
        again = pickle.loads(pickle.dumps(stream))
        again.load_state_dict(state)
        rows = [row.tolist() for batch in again for row in batch["ids"]]
        assert rows == [ids or [] for ids in IDS[1:]]


def test_a_path_whose_tokenizer_changed(path):
    stream = rm.stream(TABLE).tokenize("t", path)
    sent = pickle.dumps(stream)
    TOKENIZERS["word pieces"].save(str(path))
    with pytest.raises(rm.RagmaskError, match="changed since the stream was made"):
        pickle.loads(sent).to_arrow()


def test_states_know_the_tokenizer(path):
    def state_of(*given_, **options):
        stream = rm.stream(TABLE).tokenize("t", *given_, **options).batch(rows=1)
        return stream, next(iter(stream)).state

    stream, state = state_of(BPE)
    same, _ = state_of(path)
    same.load_state_dict(state)
    mine = copy_of(BPE)
    mine.enable_truncation(3)
    others = [state_of(mine), state_of(TOKENIZERS["word pieces"]), state_of(BPE, "x")]
    others += [state_of(BPE, special_tokens=False), state_of(BPE, offsets="o")]
    for other, _ in others:
        with pytest.raises(rm.RagmaskError, match="its steps is"):
            other.load_state_dict(state)
        with pytest.raises(rm.RagmaskError, match="its steps is"):
            stream.load_state_dict(next(iter(other)).state)


# -- errors -------------------------------------------------------------------------------


def test_what_cannot_be_is_told_at_the_call(tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    stream = rm.stream(TABLE)
    for given_, told in [
        ("bert-base", "from_pretrained"),
        (tmp_path / "bad.json", r"bad\.json is no tokenizer\.json"),
        (SimpleNamespace(convert_tokens_to_ids=1), "not one of the fast tokenizers"),
    ]:
        with pytest.raises(rm.RagmaskError, match=told):
            stream.tokenize("t", given_)
    with pytest.raises(rm.RagmaskError, match=r"int8 holds ids up to 127, .* up to 599"):
        stream.tokenize("t", BPE, dtype=np.int8)
    with pytest.raises(rm.RagmaskError, match="must be an integer"):
        stream.tokenize("t", BPE, dtype=np.float32)


class InPython:
    def pre_tokenize(self, pretok):
        pretok.split(lambda _, text: [text])


def test_one_that_cannot_be_copied():
    mine = copy_of(BPE)
    mine.pre_tokenizer = tokenizers.pre_tokenizers.PreTokenizer.custom(InPython())
    with pytest.raises(rm.RagmaskError, match=r"cannot be copied.*pass a function"):
        rm.stream(TABLE).tokenize("t", mine)


def test_what_the_tokenizer_refuses_names_the_rows():
    strict = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="[no]"))
    with pytest.raises(rm.RagmaskError, match=r"column 't'.* rows 0 to 2"):
        ids_by(strict)


def test_bytes_that_are_no_text_name_the_row(tmp_path):
    words = pa.array([b"fine", b"\xff\xfe", b"x"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, words.buffers())
    pq.write_table(pa.table({"t": text}), tmp_path / "a.parquet")
    with pytest.raises(rm.RagmaskError, match="row 1 is no text in UTF-8"):
        list(rm.stream(tmp_path / "a.parquet").tokenize("t", BPE).batch())


# -- forks --------------------------------------------------------------------------------


def count_steps(stream):
    return sum(batch["ids"].n_steps for batch in stream.batch(rows=64))


def exit_by(stream, steps):
    os._exit(0 if count_steps(stream) == steps else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("said", [None, "true", "false"])
def test_forks_amid_a_loop_neither_wait_nor_warn(said, monkeypatch, capfd):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if said:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", said)
    monkeypatch.setattr(texts_module, "_PIECE_ROWS", 64)
    text = pa.chunked_array([glosses(2000)] * 4)
    few = rm.stream(pa.table({"t": text[:200]})).tokenize("t", BPE)
    steps = count_steps(few)
    table = pa.table({"t": text})
    stream = rm.stream(table).tokenize("t", BPE)
    loop = iter(stream.batch(rows=100))
    next(loop)  # the rest is being encoded
    context = multiprocessing.get_context("fork")
    for _ in range(4):
        child = context.Process(target=exit_by, args=(few, steps))
        child.start()
        child.join(30)
        assert child.exitcode == 0
    assert sum(batch.num_rows for batch in loop) == 7900
    assert os.environ.get("TOKENIZERS_PARALLELISM") == said
    assert capfd.readouterr().err == ""
