"""From nano-units to what can be paid: the minor units (cents) of a currency, and the one rule of rounding to them."""

from __future__ import annotations

# ISO 4217: every other currency in use has two digits.
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_NANO_DIGITS = 9


def minor_digits(currency: str) -> int:
    """The decimal places of what can be paid in `currency`."""
    return 0 if currency in _NO_DIGITS else 3 if currency in _THREE_DIGITS else 2


def nano_per_minor(currency: str) -> int:
    """Nano-units in one minor unit: 10,000,000 in a cent."""
    return int(10 ** (_NANO_DIGITS - minor_digits(currency)))


def minor_of(nano: int, currency: str) -> int:
    """The nearest whole number of minor units; a half goes away from zero, so that a line and its reversal cancel."""
    scale = nano_per_minor(currency)
    rounded = (abs(nano) + scale // 2) // scale
    return -rounded if nano < 0 else rounded


def tax_minor(net_minor: int, tax_ppm: int) -> int:
    """The tax on a net amount, in minor units: once per invoice, rounded as in `minor_of`."""
    rounded = (abs(net_minor) * tax_ppm + 500_000) // 1_000_000
    return -rounded if net_minor < 0 else rounded


def minor_text(minor: int, currency: str) -> str:
    """The amount as a decimal: 123456 cents are '1234.56'."""
    digits = minor_digits(currency)
    text = f"{abs(minor):0{digits + 1}d}"
    whole = f"{text[:-digits]}.{text[-digits:]}" if digits else text
    return f"{'-' if minor < 0 else ''}{whole}"
