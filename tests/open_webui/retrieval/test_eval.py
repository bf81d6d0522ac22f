"""`oui-backend rag eval`: what it measures, what it refuses, and that the set of this repository is found as promised."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from open_webui.commands import app
from open_webui.env import Settings
from open_webui.retrieval_eval import EvalError, Passage, Question, evaluate, files_of, flat, read_set, summed
from tests.support import real_embedder

ROOT = Path(__file__).resolve().parents[3]
TEXTS, DOCS = ROOT / "benchmarks" / "data" / "retrieval", ROOT / "docs"
SET = TEXTS / "questions.jsonl"


def line(question: str, document: str, phrase: str, kind: str = "") -> str:
    return json.dumps({"question": question, "answers": [{"document": document, "phrase": phrase}], "kind": kind})


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_text("# Soup\n\nThe soup has to boil for nine minutes.\n")
    (tmp_path / "b.md").write_text("# Bread\n\nERR_77 says that the oven\nis cold.\n")
    (tmp_path / ".hidden.md").write_text("ERR_77 soup")
    made = tmp_path / "set.jsonl"
    questions = [
        line("how long does soup boil", "deep/a.md", "nine minutes"),
        line("ERR_77", "b.md", "the oven is cold", "n"),
    ]
    made.write_text("\n\n".join(questions))
    return made


async def test_questions_are_asked_of_an_index_of_their_own(own_settings: Settings, judged: Path) -> None:
    report = await evaluate(own_settings, judged, [], lambda _doing: None)
    assert (report.questions, report.documents, report.chunks, report.absent) == (2, 2, 2, [])
    assert report.methods["words"].ndcg == 1.0 == report.methods["words"].by_kind["n"]
    assert set(report.methods) == {"words"}
    assert "No vectors: " in report.notes[0]
    assert not (own_settings.data_dir / "webui.db").exists()
    assert "nDCG@10" in report.table()
    assert json.loads(report.as_json())["methods"]["words"]["recall"] == {"1": 1.0, "3": 1.0, "5": 1.0, "10": 1.0}


async def test_what_nobody_can_find_is_told(own_settings: Settings, judged: Path) -> None:
    judged.write_text(line("soup", "deep/a.md", "ten minutes"))  # noqa: ASYNC240
    report = await evaluate(own_settings, judged, [], lambda _doing: None)
    assert report.absent == [Passage("deep/a.md", "ten minutes")]
    assert report.methods["words"].ndcg == 0.0
    assert "no chunk has it: ten minutes (deep/a.md)" in report.table()


def test_the_figures() -> None:
    two = Question("q", (Passage("a", "x"), Passage("a", "y")), "p")
    one = Question("r", (Passage("a", "z"),))
    figures = summed([(two, [0, 1, 0, 1]), (one, [])])
    assert figures.recall == {1: 0.0, 3: 0.25, 5: 0.5, 10: 0.5}
    assert figures.mrr == 0.25
    best = 1 + 1 / math.log2(3)
    assert figures.by_kind == {"": 0.0, "p": pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / best)}
    # One chunk that has both passages is no better than all.
    assert summed([(two, [2])]).ndcg == 1.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no questions"),
        ("{", "Line 1 of"),
        (line("q", "b.md", "oven") + '\n{"question": 1, "answers": []}', "Line 2 of"),
        (line(" ", "b.md", "oven"), "empty question"),
        (line("q", "b.md", " "), "empty question or phrase"),
        ('{"question": "q", "answers": []}', "no answers"),
        (line("q", "gone.md", "x"), "none of the folders: gone.md"),
        (line("q", "../b.md", "x"), "none of the folders"),
        (line("q", ".hidden.md", "x"), "none of the folders"),
    ],
)
def test_a_bad_set_is_refused(judged: Path, text: str, why: str) -> None:
    judged.write_text(text)
    with pytest.raises(EvalError, match=why):
        files_of([judged.parent], read_set(judged))


def test_a_bad_command_is_a_sentence(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(judged.parent)
    for arguments, why in (([str(judged), "--files", "nowhere"], "is no folder"), (["gone.jsonl"], "can't be read")):
        done = CliRunner().invoke(app, ["rag", "eval", *arguments])
        assert done.exit_code == 1
        assert why in done.output + done.stderr


def test_the_passages_of_the_set_stand_in_their_documents() -> None:
    """A page that is written anew may lose one; whoever does it mends the line, or takes it out."""
    questions = read_set(SET)
    named = files_of([TEXTS, DOCS], questions)
    texts = {name: flat(path.read_text(encoding="utf-8")) for name, path in named.items()}
    passages = [passage for question in questions for passage in question.answers]
    lost = [passage for passage in passages if flat(passage.phrase) not in texts[passage.document]]
    assert len(lost) <= len(passages) // 20, lost
    assert len({question.question for question in questions}) == len(questions) == 200


async def test_names_are_found_by_words(own_settings: Settings, tmp_path: Path) -> None:
    own = {path.name for path in TEXTS.glob("*.md")}
    few = [q for q in SET.read_text().splitlines() if {a["document"] for a in json.loads(q)["answers"]} <= own]
    (tmp_path / "few.jsonl").write_text("\n".join(few))
    report = await evaluate(own_settings, tmp_path / "few.jsonl", [TEXTS], lambda _doing: None)
    assert report.questions > 60
    assert report.absent == []
    assert report.methods["words"].by_kind["name"] > 0.95
    assert report.methods["words"].by_kind["mixed"] > 0.8


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_both_together_find_more_than_either(own_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("RAG_EMBEDDING_MODEL", str(real_embedder.folder()))
    report = await evaluate(own_settings, SET, [TEXTS, DOCS], lambda _doing: None)
    words, vectors, hybrid = (report.methods[name] for name in ("words", "vectors", "hybrid"))
    assert hybrid.ndcg > vectors.ndcg + 0.03
    assert hybrid.ndcg > words.ndcg + 0.1
    assert hybrid.by_kind["name"] > vectors.by_kind["name"]
    assert hybrid.by_kind["paraphrase"] > words.by_kind["paraphrase"]
