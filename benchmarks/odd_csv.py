"""Odd CSV files, as programs and people write them, each with the one right reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ODD", "Odd"]


class Odd(NamedTuple):
    """One file.

    Attributes:
        name: What is odd about it.
        data: Its bytes.
        header: The names of the columns.
        rows: The cells, as texts; ``None``: the file is broken, and must be refused.
        ending: Of the file's name.
    """

    name: str
    data: bytes
    header: list[str]
    rows: list[list[str]] | None
    ending: str = ".csv"


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]], mark: str, end: str = "\n") -> str:
    return end.join(mark.join(row) for row in (header, *rows)) + end


H = ["x", "y", "label"]
R = [[f"{i}.5", str(9 - i), "ab"[i % 2]] for i in range(8)]
EUROPE = [[f"{i},5", str(9 - i), "ab"[i % 2]] for i in range(8)]
PROSE = [[f"a song, number {i}", str(i), "ab"[i % 2]] for i in range(8)]
SPACED = [[str(i), f"two words {i}", "ab"[i % 2]] for i in range(8)]
_BODY = _lines(H, R, ",")


def _quoted(rows: Sequence[Sequence[str]], mark: str) -> list[list[str]]:
    return [[f'"{cell}"' if mark in cell else cell for cell in row] for row in rows]


def _separators() -> list[Odd]:
    out = []
    for name, mark in (("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("bar", "|")):
        out += [
            Odd(f"{name}s", _lines(H, R, mark).encode(), H, R),
            Odd(f"{name}s, CRLF", _lines(H, R, mark, "\r\n").encode(), H, R),
            Odd(f"{name}s, no line break at the end", _lines(H, R, mark)[:-1].encode(), H, R),
            Odd(f"{name}s, one row", _lines(H, R[:1], mark).encode(), H, R[:1]),
            Odd(f"{name}s, prose in quotation marks", _lines(H, _quoted(PROSE, ","), mark).encode(), H, PROSE),
        ]
    return out


def _europe() -> list[Odd]:
    price, free = ["id", "price, EUR", "label"], ["id", "note, free", "label"]
    return [
        Odd("semicolons, decimal commas", _lines(H, EUROPE, ";").encode(), H, EUROPE),
        Odd("semicolons, a comma in the header", _lines(price, R, ";").encode(), price, R),
        Odd("semicolons, a comma in the header and in each row", _lines(price, EUROPE, ";").encode(), price, EUROPE),
        Odd("semicolons, a comma in the header, words", _lines(free, SPACED, ";").encode(), free, SPACED),
        Odd(
            "semicolons, as many commas",
            _lines(["a,b", "c"], [["1,5", "u"], ["2,5", "v"]], ";").encode(),
            ["a,b", "c"],
            [["1,5", "u"], ["2,5", "v"]],
        ),
        Odd("tabs, decimal commas, in .csv", _lines(H, EUROPE, "\t").encode(), H, EUROPE),
        Odd(
            "commas, lists with semicolons",
            _lines(["tags", "label"], [["p;q;r", "a"], ["s;t;u", "b"]] * 4, ",").encode(),
            ["tags", "label"],
            [["p;q;r", "a"], ["s;t;u", "b"]] * 4,
        ),
        Odd(
            "commas, lists with bars",
            _lines(["tags", "label"], [["p|q", "a"], ["s|t", "b"]] * 4, ",").encode(),
            ["tags", "label"],
            [["p|q", "a"], ["s|t", "b"]] * 4,
        ),
        Odd(
            "commas, times of day",
            _lines(["at", "label"], [["12:30", "a"], ["13:45", "b"]] * 4, ",").encode(),
            ["at", "label"],
            [["12:30", "a"], ["13:45", "b"]] * 4,
        ),
        Odd("sep=; first", ("sep=;\n" + _lines(H, EUROPE, ";")).encode(), H, EUROPE),
        Odd("sep=; first, CRLF", ("sep=;\r\n" + _lines(H, EUROPE, ";", "\r\n")).encode(), H, EUROPE),
        Odd("sep=, first", ("sep=,\n" + _BODY).encode(), H, R),
        Odd('"sep=;" first, in quotation marks', ('"sep=;"\n' + _lines(H, R, ";")).encode(), H, R),
        Odd("sep=| first, with a mark of UTF-8", ("\ufeffsep=|\n" + _lines(H, R, "|")).encode(), H, R),
    ]


def _lines_before() -> list[Odd]:
    dots = _lines(H, R, ";")
    return [
        Odd("a comment before", ("# made by hand\n" + _BODY).encode(), H, R),
        Odd("comments before, with commas", ("# made by hand, on Monday, at 9\n# x, y, z, w\n" + _BODY).encode(), H, R),
        Odd("a comment with a lone quotation mark", ('# 5" records\n' + _BODY).encode(), H, R),
        Odd("a comment and an empty line before", ("# made by hand\n\n" + _BODY).encode(), H, R),
        Odd("comments amid the rows", _lines(H, [*R[:3], ["# half time"], *R[3:]], ",").encode(), H, R),
        Odd("a comment after", (_BODY + "# end\n").encode(), H, R),
        Odd("a header behind #", ("# " + _lines(H, R, " ")).encode(), H, R, ".txt"),
        Odd("a header behind #, commas", ("#" + _lines(H, R, ",")).encode(), H, R),
        Odd(
            "texts that begin with #",
            _lines(["text", "label"], [[f"#tag{i} yes", "ab"[i % 2]] for i in range(8)], ",").encode(),
            ["text", "label"],
            [[f"#tag{i} yes", "ab"[i % 2]] for i in range(8)],
        ),
        Odd("a title", ("Results of 2024\n" + _BODY).encode(), H, R),
        Odd("a title and an empty line", ("Results of 2024\n\n" + _BODY).encode(), H, R),
        Odd("a title in quotation marks", ('"Results, of 2024"\n' + _BODY).encode(), H, R),
        Odd("a title with empty cells", ("Results of 2024,,\n" + _BODY).encode(), H, R),
        Odd("a title and semicolons", ("Results, 2024\n" + dots).encode(), H, R),
        Odd("two lines of title", ("Results\nof 2024\n" + dots).encode(), H, R),
        Odd("empty lines before", ("\n\n" + _BODY).encode(), H, R),
        Odd("empty lines between", _BODY.replace("\n", "\n\n").encode(), H, R),
        Odd("rows of separators at the end", (_BODY + ",,\n,,\n").encode(), H, R),
        Odd("a mark of UTF-8", ("\ufeff" + _BODY).encode(), H, R),
    ]


def _widths() -> list[Odd]:
    index = ["", *H]
    numbered = [[str(i), *row] for i, row in enumerate(R)]
    named = [[f"row{i}", *row] for i, row in enumerate(R)]
    twice = [[str(i), str(i), *row] for i, row in enumerate(R)]
    return [
        Odd(
            "separators at the ends of rows alone",
            ("x,y,label\n" + "".join(",".join(r) + ",\n" for r in R)).encode(),
            H,
            R,
        ),
        Odd(
            "semicolons at the ends of rows alone",
            ("x;y;label\n" + "".join(";".join(r) + ";\n" for r in R)).encode(),
            H,
            R,
        ),
        Odd("separators at the ends of all lines", "".join(",".join(r) + ",\n" for r in (H, *R)).encode(), H, R),
        Odd("a column without a name", _lines(index, numbered, ",").encode(), index, numbered),
        Odd("two columns without a name", _lines(["", *index], twice, ",").encode(), ["", *index], twice),
        Odd("names of rows without a heading", _lines(H, named, ",").encode(), index, named),
        Odd("names of rows without a heading, tabs", _lines(H, named, "\t").encode(), index, named, ".tsv"),
        Odd("a row too long", _lines(H, [*R[:4], [*R[4], "z"], *R[5:]], ",").encode(), H, None),
        Odd("a row too short", _lines(H, [*R[:4], R[4][:2], *R[5:]], ",").encode(), H, None),
        Odd(
            "a header too short",
            _lines(H[:2], [[*r[:2], "z"] for r in R], ",").replace("x,y", "x", 1).encode(),
            H,
            None,
        ),
    ]


def _spaces() -> list[Odd]:
    wide = "".join("  ".join(f"{cell:>8}" for cell in row) + "\n" for row in (H, *R))
    left = "".join("".join(f"{cell:<10}" for cell in row) + "\n" for row in (H, *R))
    written = "x  y  label\n" + "".join(f'{r[0]}   "two words"  {r[2]}\n' for r in R)
    return [
        Odd("single spaces", _lines(H, R, " ").encode(), H, R, ".txt"),
        Odd("runs of spaces, right-aligned", wide.encode(), H, R, ".txt"),
        Odd("runs of spaces, left-aligned", left.encode(), H, R, ".txt"),
        Odd("runs of spaces, in .csv", wide.encode(), H, R),
        Odd("runs of spaces and quotation marks", written.encode(), H, [[r[0], "two words", r[2]] for r in R], ".txt"),
        Odd("commas and spaces", _lines(H, R, ", ").encode(), H, R),
        Odd("commas, spaces and quotation marks", _lines(H, _quoted(PROSE, ","), ", ").encode(), H, PROSE),
        Odd("tabs in .txt", _lines(H, SPACED, "\t").encode(), H, SPACED, ".txt"),
        Odd("tabs in .tsv", _lines(H, PROSE, "\t").encode(), H, PROSE, ".tsv"),
        Odd("commas in .tsv", _BODY.encode(), H, R, ".tsv"),
    ]


def _quotes() -> list[Odd]:
    lines = [[f"two\nlines {i}", str(i), "ab"[i % 2]] for i in range(8)]
    quoted = [[f'he said "{i}"', str(i), "ab"[i % 2]] for i in range(8)]
    inches = [[f'{i} 1/2" pipe', str(i), "ab"[i % 2]] for i in range(8)]
    double = [[f'"{r[0].replace(chr(34), chr(34) * 2)}"', *r[1:]] for r in quoted]
    slashed = [[f'"{r[0].replace(chr(34), chr(92) + chr(34))}"', *r[1:]] for r in quoted]
    broken = [[r[0], '"open' if i == 2 else r[1], r[2]] for i, r in enumerate(R)]
    return [
        Odd(
            "line breaks in quotation marks", _lines(H, [[f'"{r[0]}"', *r[1:]] for r in lines], ",").encode(), H, lines
        ),
        Odd("doubled quotation marks", _lines(H, double, ",").encode(), H, quoted),
        Odd("quotation marks behind a backslash", _lines(H, slashed, ",").encode(), H, quoted),
        Odd("quotation marks within cells", _lines(H, inches, ",").encode(), H, inches),
        Odd(
            "all cells in quotation marks",
            _lines([f'"{c}"' for c in H], [[f'"{c}"' for c in r] for r in R], ",").encode(),
            H,
            R,
        ),
        Odd(
            "all in single quotation marks",
            _lines([f"'{c}'" for c in H], [[f"'{c}'" for c in r] for r in PROSE], ",").encode(),
            H,
            PROSE,
        ),
        Odd("apostrophes", _lines(H, [["it's", *r[1:]] for r in R], ",").encode(), H, [["it's", *r[1:]] for r in R]),
        Odd("a quotation mark never closed", _lines(H, broken, ",").encode(), H, None),
        Odd("line ends of old Macs", _lines(H, R, ",", "\r").encode(), H, R),
    ]


def _encodings() -> list[Odd]:
    German = [["Köln", "größer als üblich", "ja"], ["Zürich", "schön", "nein"], ["Malmö", "für später", "ja"]] * 4
    Russian = [["Москва", "большой город", "да"], ["Казань", "на реке", "нет"], ["Томск", "в Сибири", "да"]] * 4
    Polish = [["Łódź", "żółta ściana", "tak"], ["Gdańsk", "nad morzem, śnieg", "nie"], ["Kraków", "święto", "tak"]] * 4
    Japanese = [
        ["東京", "大きい都市です", "はい"],
        ["大阪", "美味しいもの", "いいえ"],
        ["札幌", "雪が降る", "はい"],
    ] * 4
    names = ["city", "text", "label"]
    out = []
    for language, rows, codes in (
        ("German", German, ("cp1252", "utf-16", "utf-8", "utf-16-le", "utf-32")),
        ("Russian", Russian, ("cp1251", "koi8_r", "utf-16")),
        ("Polish", Polish, ("cp1250", "iso8859_2")),
        ("Japanese", Japanese, ("shift_jis", "euc_jp", "utf-16")),
    ):
        out += [Odd(f"{language} in {code}", _lines(names, rows, ";").encode(code), names, rows) for code in codes]
    return out


ODD = [*_separators(), *_europe(), *_lines_before(), *_widths(), *_spaces(), *_quotes(), *_encodings()]
"""All of them."""
