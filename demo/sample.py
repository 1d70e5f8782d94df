"""The sample recipients file: 2,000 invented people, with the mistakes that real files have."""

import csv
import random
from pathlib import Path

PEOPLE = 2_000
_NAMES = ("Ana", "Luis", "María José", "Íñigo", "Zoila", "Ramón", "Lucía", "Andrés", "Belén", "Nuñez & Hijos")
_SURNAMES = ("Peña", "Guamán", "Núñez", "Quispe", "Ibáñez", "Rojas", "Mamani", "Villacís", "Ordóñez", "Cárdenas")


def write_sample(path: Path) -> None:
    """As a spreadsheet of the region exports it: `;`, UTF-8 with BOM, decimal commas, leading zeros."""
    chance = random.Random(2026)  # noqa: S311  (the same file each time)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Nombre completo", "Correo electrónico", "nombre", "cedula", "monto", "vence"])
        for number in range(1, PEOPLE + 1):
            writer.writerow(_with_mistake(number, _person(number, chance)))


def _person(number: int, chance: random.Random) -> list[str]:
    name = chance.choice(_NAMES)
    amount = f"{chance.randint(10, 1500)},{chance.randint(0, 99):02d}"
    return [
        f"{name} {chance.choice(_SURNAMES)}",
        f"persona{number}@example.com",
        name,
        f"{chance.randint(1, 24):02d}{number:08d}",
        amount,
        f"2026-12-{chance.randint(1, 28):02d}",
    ]


def _with_mistake(number: int, row: list[str]) -> list[str]:
    match number % 200:
        case 17:
            row[1] = "no tiene"
        case 42:
            row[1] = row[1].replace("@example.com", "@@example..com")
        case 99:
            row[1] = f"PERSONA{number - 1}@example.com"
        case 123:
            row[4] = "  "
        case 150:
            row[1] = f"persona{number}@gmial.com"
        case 180:
            return row[:4]
    return row
