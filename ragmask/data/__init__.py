"""Real ragged data that ships with ragmask.

Japanese Vowels: 640 recordings of two vowels by nine speakers, 7 to 29 frames of 12 cepstrum
coefficients each. M. Kudo, J. Toyama, M. Shimbo (1999), UCI Machine Learning Repository,
CC BY 4.0.
"""

from pathlib import Path

JAPANESE_VOWELS = Path(__file__).parent / "japanese_vowels.parquet"
