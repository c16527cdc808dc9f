"""A card number in many notations."""

from __future__ import annotations

#: Mastercard's test number.
CARD = "5105105105105100"
GROUPS = ("5105", "1051", "0510", "5100")


def grouped(separator: str) -> str:
    return separator.join(GROUPS)


FULL_WIDTH = CARD.translate({ord(str(digit)): 0xFF10 + digit for digit in range(10)})
ARABIC = CARD.translate({ord(str(digit)): 0x0660 + digit for digit in range(10)})
CIRCLED = CARD.translate({ord("0"): "⓪", **{ord(str(digit)): 0x2460 + digit - 1 for digit in range(1, 10)}})

NOTATIONS = [
    CARD,
    *(
        grouped(separator)
        for separator in (
            " ",
            "  ",
            "-",
            " - ",
            ".",
            "/",
            "_",
            "\\",
            "|",
            ",",
            "; ",
            ":",
            "*",
            "•",
            "~",
            "+",
            "=",
            "\N{NO-BREAK SPACE}",
            "\N{NARROW NO-BREAK SPACE}",
            "\N{EN DASH}",
            "\N{ZERO WIDTH SPACE}",
            "\t",
            "\n",
            "          ",
            " (then) ",
            "x",
            "и",
            "空",
            "👍🏽",
            "%20",
            "%2520",
            "&nbsp;",
            "&#160;",
            "\\u00a0",
        )
    ),
    " ".join(CARD),
    "-".join(CARD),
    ". ".join(CARD),
    " ".join(CARD[start : start + 2] for start in range(0, 16, 2)),
    "51051051 05105100",
    "510510 5105105100",
    "5105 105105105100",
    FULL_WIDTH,
    ARABIC,
    CIRCLED,
    "5105 1051 ０５１０ ٥١٠٠",
    f"seat 4 {grouped(' ')}",
    f"4 {grouped(' ')}",
    f"{grouped(' ')} 12/30 123",
    f"seat 4 {grouped('.')} 12/30 123, row 7",
    f"{CARD} 1230",
    f"{CARD}=30121010000012300001",
    f"{CARD}1230123",
    f"4{CARD}",
    f"4{grouped(' ')}",
    f"{grouped(' ')}1230",
    f"Card{CARD}please",
    f"pm_{CARD}",
    f"{CARD}@example.com",
    f"https://shop.example.com/paid?card={grouped('%20')}",
    f"https://shop.example.com/{CARD}/paid",
    f'{{"number": "{CARD}"}}',
]
