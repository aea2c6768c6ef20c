"""Writes `orders.csv`: one year of orders of an invented household-goods shop. The seed is fixed, so is the file.

python examples/data/make_orders.py
"""

from __future__ import annotations

import csv
import random
from datetime import date, timedelta
from pathlib import Path

SEED = 20250101
ORDERS = 3_200
FIRST_DAY = date(2025, 1, 1)
TARGET = Path(__file__).with_name("orders.csv")

CUSTOMERS = {
    "Alder & Finch": "Ireland",
    "Bergmann Haushalt": "Germany",
    "Café Lumière": "France",
    "Delgado Hermanos": "Spain",
    "Eastgate Hotel": "United Kingdom",
    "Fjordkraft Hytter": "Norway",
    "Grand Hotel Astoria": "Austria",
    "Harbour Street Deli": "United Kingdom",
    "Iversen Interiør": "Denmark",
    "Jansen & Zonen": "Netherlands",
    "Kowalski Dom": "Poland",
    "La Bottega": "Italy",
    "Maison Perrin": "France",
    "Nordlys Kafé": "Norway",
    "Oak Lane School": "Ireland",
    "Pension Sonnenhof": "Austria",
    "Quinta do Vale": "Portugal",
    "Riverside Clinic": "United Kingdom",
    "Studio Bianchi": "Italy",
    "Taverna Elia": "Greece",
    "Ulmer Werkstatt": "Germany",
    "Van Dijk Catering": "Netherlands",
    "Winkel Noord": "Belgium",
    "Zeller Antiquariat": "Germany",
}
PRODUCTS = {
    "Oak chopping board": ("Kitchen", 34.50),
    "Cast-iron pan": ("Kitchen", 59.90),
    "Chef's knife": ("Kitchen", 72.00),
    "Linen tablecloth": ("Textiles", 48.75),
    "Wool blanket": ("Textiles", 89.00),
    "Cotton towel set": ("Textiles", 27.40),
    "Brass desk lamp": ("Lighting", 94.50),
    "Paper lantern": ("Lighting", 15.80),
    "Pendant light": ("Lighting", 129.00),
    "Terracotta pot": ("Garden", 12.60),
    "Watering can": ("Garden", 24.90),
    "Garden bench": ("Garden", 219.00),
    "Wall clock": ("Decor", 44.20),
    "Ceramic vase": ("Decor", 31.90),
    "Picture frame": ("Decor", 18.50),
}
FIELDS = ("order_id", "date", "customer", "country", "product", "category", "quantity", "unit_price")


def orders() -> list[dict[str, str | int]]:
    """The rows, sorted by date. Prices drift by a few per cent over the year, as list prices do."""
    rng = random.Random(SEED)
    weights = [rng.uniform(0.4, 2.2) for _ in CUSTOMERS]
    days = sorted(rng.randrange(365) for _ in range(ORDERS))
    rows: list[dict[str, str | int]] = []
    for number, day in enumerate(days, start=1):
        customer = rng.choices(list(CUSTOMERS), weights)[0]
        product = rng.choice(list(PRODUCTS))
        category, price = PRODUCTS[product]
        quantity = rng.choices((1, 2, 3, 4, 6, 8, 12, 20), (30, 24, 14, 10, 9, 6, 5, 2))[0]
        rows.append(
            {
                "order_id": f"A{10_000 + number}",
                "date": (FIRST_DAY + timedelta(days=day)).isoformat(),
                "customer": customer,
                "country": CUSTOMERS[customer],
                "product": product,
                "category": category,
                "quantity": quantity,
                "unit_price": f"{price * (1 + 0.06 * day / 365) * rng.uniform(0.97, 1.03):.2f}",
            }
        )
    return rows


def main() -> None:
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(orders())


if __name__ == "__main__":
    main()
