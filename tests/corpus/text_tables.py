"""CSV in its dialects, encodings and packings."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from tests.corpus.case import LABELS, NUMERIC, Case, lines, rows

DIALECT, ENCODING, PACKED = "Tables in text", "Encodings of text", "Packed files and archives"
USUAL = lines().encode()


def text(name: str, content: str | bytes) -> Callable[[Path], Any]:
    """Write a file."""
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _dialects() -> list[Case]:
    spaced = "".join("".join(f"{cell:>9}" for cell in row) + "\n" for row in rows())
    european = lines(";").replace(".5", ",5")
    header, *body = rows()
    trailing = lines(table=[header, *([*row, ""] for row in body)])
    indexed = lines(table=[["", "", *header], *([str(i), str(i), *row] for i, row in enumerate(body))])
    named = lines(table=[header, *([f"sample {i}", *row] for i, row in enumerate(body))])
    priced = lines(";", table=[["price, EUR", "z", "label"], *body])
    free = lines(";", table=[["x", "note, free", "label"], *([a, f"see {b}", c] for a, b, c in body)])
    decimal = "read with decimal commas"
    usual: dict[str, Any] = {"group": DIALECT, "shown": True}
    notes = {"numeric": ("x",), "categorical": (), "text": ("note, free",)}
    return [
        Case(name="commas", source="a.csv", make=text("a.csv", USUAL), **usual),
        Case(
            name="semicolons and decimal commas", source="a.csv", make=text("a.csv", european), says=[decimal], **usual
        ),
        Case(name="tabs", source="a.tsv", make=text("a.tsv", lines("\t")), **usual),
        Case(name="bars", source="a.psv", make=text("a.psv", lines("|")), **usual),
        Case(name="spaces, any number of them", source="a.txt", make=text("a.txt", spaced), **usual),
        Case(name="a space behind each comma", source="a.csv", make=text("a.csv", lines(", ")), **usual),
        Case(name="a line `sep=;` first", source="a.csv", make=text("a.csv", "sep=;\n" + lines(";")), **usual),
        Case(name="comments", source="a.csv", make=text("a.csv", "# made, in a hurry, on May 1\n" + lines()), **usual),
        Case(name="a header behind #", source="a.txt", make=text("a.txt", "# " + lines(" ")), **usual),
        Case(
            name="a title before the header",
            source="a.csv",
            make=text("a.csv", "Results of May\n\n" + lines()),
            says=["has a title before its header"],
            **usual,
        ),
        Case(name="separators at the ends of rows alone", source="a.csv", make=text("a.csv", trailing), **usual),
        Case(
            name="a comma in the header of a file of semicolons",
            source="a.csv",
            make=text("a.csv", priced),
            kinds={"numeric": ("price, EUR", "z"), "categorical": (), "text": ()},
            **usual,
        ),
        Case(
            name="the same with words",
            source="a.csv",
            make=text("a.csv", free),
            kinds=notes,
            **usual | {"shown": False},
        ),
        Case(
            name="two columns of row numbers without a name",
            source="a.csv",
            make=text("a.csv", indexed),
            says=["'Unnamed: 0' only counts", "'Unnamed: 1' only counts"],
            **usual,
        ),
        Case(
            name="names of rows without a heading",
            source="a.csv",
            make=text("a.csv", named),
            kinds={**NUMERIC, "text": ("Unnamed: 0",)},
            says=["has one name less than columns"],
            **usual,
        ),
        Case(name="single quotation marks", source="a.csv", make=text("a.csv", _quoted("'")), **usual),
        Case(name="rows of separators alone", source="a.csv", make=text("a.csv", lines() + ",,\n,,\n"), **usual),
    ]


def _quoted(mark: str) -> str:
    return lines(table=[[f"{mark}{cell}{mark}" for cell in row] for row in rows()])


def _refused() -> list[Case]:
    def bad(name: str, content: str | bytes, error: str, **options: str) -> Case:
        return Case(DIALECT, name, "a.csv", text("a.csv", content), options, error=error)

    headless = "".join(lines().splitlines(True)[1:])
    return [
        bad("an empty file", "", "a.csv is empty"),
        bad("empty lines alone", "\n\n\n", "a.csv is empty"),
        bad("a header alone", "x,z,label\n", "has a header but no rows"),
        bad("no header", headless, "has no header: its first line looks like data ('0.5', '3', 'a')"),
        bad("no header, and a label that does not exist", headless, "has no header", label="label"),
        bad("no header, texts", "so it is\ta\n" + "it is not\tb\nit is\ta\n" * 4, "has no header"),
        bad("files joined, each with its header", lines() * 2, "line 14: the header is repeated here"),
        bad("a row too long", lines() + "1,2,a,4\n", "line 14: 4 fields, but the header has 3"),
        bad("a row too short", lines() + "1,2\n", "line 14: 2 fields, but the header has 3"),
        bad("two columns of one name", lines().replace("x,z", "z,z", 1), "more than one column named 'z'"),
        bad("a lone quotation mark", lines() + '"1,2,a\n', "line 14: unexpected end of data"),
        bad("no label", lines().replace("label", "kind", 1), "Did you mean --label kind? It has 2 values."),
        bad("a workbook by another name", b"PK\x03\x04" + b"\0" * 50, "is a workbook or an archive, not a CSV file"),
        bad("bytes that are no text", b"\0\1\2" * 500, "is not a text file: it holds NUL bytes"),
        bad("a title and nothing else", "Results of May\n", "has a header but no rows"),
        bad("a row of trailing separators in half of the rows", trailing_in_half(), "4 fields, but the header has 3"),
    ]


def trailing_in_half() -> str:
    """A value where the other rows end in a separator."""
    header, *body = rows()
    return lines(table=[header, *([*row, "" if i else "late"] for i, row in enumerate(body))])


_WORDS = {
    "German": ("Köln größer als üblich", "Zürich schöner für später", "cp1252 utf-16 utf-8-sig iso8859_15 cp850"),
    "French": ("Orléans très élégant à côté", "Besançon hôtel où l'on dîne", "cp1252 iso8859_15 mac_roman"),
    "Spanish": ("Málaga el niño pequeño comió", "Córdoba mañana será otro día", "cp1252 utf-16-be cp850"),
    "Polish": ("Łódź żółta ściana w domu", "Gdańsk nad morzem śnieg", "cp1250 iso8859_2"),
    "Czech": ("Plzeň dobré pivo žízeň", "Ostrava příliš žluťoučký kůň", "cp1250 iso8859_2"),
    "Russian": ("Москва большой город", "Казань стоит на реке", "cp1251 koi8_r cp866 utf-16"),
    "Greek": ("Αθήνα μεγάλη πόλη", "Πάτρα κοντά στη θάλασσα", "cp1253 iso8859_7"),
    "Turkish": ("İstanbul büyük şehir çok güzel", "Iğdır küçük değil mi", "cp1254"),
    "Japanese": ("東京は大きい都市です", "大阪の美味しいもの", "shift_jis euc_jp utf-16"),
    "Chinese": ("北京是很大的城市", "上海靠近海边的地方", "gb18030 utf-16-le"),
    "Taiwanese": ("臺北是很大的城市", "高雄靠近海邊的地方", "big5"),
    "Korean": ("서울은 큰 도시입니다", "부산은 바다 근처예요", "euc_kr"),
    "Hebrew": ("חיפה היא עיר גדולה", "ירושלים ליד ההרים", "cp1255"),
    "Arabic": ("القاهرة مدينة كبيرة", "دمشق قرب الجبل", "cp1256"),
}
_SHOWN = {("German", "cp1252"), ("Russian", "cp1251"), ("Japanese", "shift_jis"), ("Chinese", "utf-16-le")}


def _encodings() -> list[Case]:
    out = []
    for language, (one, two, codes) in _WORDS.items():
        texts = [[one, two][label == "b"] for label in LABELS]
        table = [["word", "label"], *([a, b] for a, b in zip(texts, LABELS, strict=True))]

        def words(data: Any, want: tuple[str, ...] = tuple(sorted({one, two}))) -> None:
            state = data.preprocess.to_state()[0]
            assert tuple(sorted(state["categorical"][0]["values"])) == want

        for code in codes.split():
            marked = code in {"utf-8-sig", "utf-16"}
            out.append(
                Case(
                    ENCODING,
                    f"{language} in {code}",
                    "a.csv",
                    text("a.csv", lines(";", table=table).encode(code)),
                    kinds={"numeric": (), "categorical": ("word",), "text": ()},
                    says=["tells the label almost perfectly"][: len(LABELS) // 50] + ["is not UTF-8"] * (not marked),
                    needs="chardet",
                    check=words,
                    shown=(language, code) in _SHOWN,
                )
            )
    latin = lines(table=[["word", "label"], *([f"é{i % 2}", b] for i, b in enumerate(LABELS))]).encode("latin1")
    kinds = {"numeric": (), "categorical": ("word",), "text": ()}
    options = {"encoding": "latin1"}
    return [
        *out,
        Case(ENCODING, "named by an option", "a.csv", text("a.csv", latin), options, kinds=kinds, shown=True),
        Case(
            ENCODING,
            "an unknown name",
            "a.csv",
            text("a.csv", latin),
            {"encoding": "klingon"},
            error="not a known encoding",
        ),
        Case(
            ENCODING, "the wrong name", "a.csv", text("a.csv", latin), {"encoding": "utf-8"}, error="byte 0xe9 cannot"
        ),
        Case(
            ENCODING,
            "named for a workbook",
            "a.npz",
            text("a.npz", b"PK"),
            options,
            error="--encoding latin1 does not apply",
        ),
    ]


def _zip(name: str, members: dict[str, bytes]) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)

    return make


def _packed() -> list[Case]:
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True),
    }
    out = []
    for ending, packed in pack.items():
        whole = packed(USUAL)
        out += [
            Case(PACKED, f"{ending} of CSV", f"a.csv.{ending}", text(f"a.csv.{ending}", whole), shown=True),
            Case(PACKED, f"{ending}, capitals", f"A.CSV.{ending.upper()}", text(f"A.CSV.{ending.upper()}", whole)),
            Case(PACKED, f"{ending} of TSV", f"a.tsv.{ending}", text(f"a.tsv.{ending}", packed(lines("\t").encode()))),
            Case(
                PACKED,
                f"{ending}, cut short",
                f"a.csv.{ending}",
                text(f"a.csv.{ending}", whole[:-12]),
                error="is truncated or damaged",
            ),
            Case(
                PACKED, f"no {ending}", f"a.csv.{ending}", text(f"a.csv.{ending}", USUAL), error="truncated or damaged"
            ),
        ]
    both = {"train.csv": USUAL, "test.csv": USUAL}
    return [
        *out,
        Case(PACKED, "a zip archive of one file", "a.zip", _zip("a.zip", {"data/train.csv": USUAL}), shown=True),
        Case(PACKED, "a zip archive from a Mac", "a.zip", _zip("a.zip", {"d.csv": USUAL, "__MACOSX/._d.csv": b"x"})),
        Case(PACKED, "one file of a zip archive", "a.zip::train.csv", _zip("a.zip", both), shown=True),
        Case(
            PACKED,
            "a zip archive of several files",
            "a.zip",
            _zip("a.zip", both),
            error="Name one, such as a.zip::train",
        ),
        Case(
            PACKED,
            "a file that the archive does not hold",
            "a.zip::trian.csv",
            _zip("a.zip", both),
            error="Did you mean",
        ),
        Case(PACKED, "an empty zip archive", "a.zip", _zip("a.zip", {}), error="holds 0 files"),
        Case(PACKED, "no zip archive", "a.zip", text("a.zip", USUAL), error="cannot be unpacked"),
        Case(
            PACKED, "errors name the archive", "a.zip", _zip("a.zip", {"d.csv": b"x,label\n1\n"}), error="a.zip, line 2"
        ),
    ]


CASES = [*_dialects(), *_refused(), *_encodings(), *_packed()]
