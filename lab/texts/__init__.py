"""What people read in lectures, in several languages.

A `Text` is its English, and knows the template and the values it was made of. `NAME.toml` in this folder maps each
template to the same in another language: that one file is all a language needs.

>>> from lab.texts import Text, languages
>>> text = Text("The page is at {page}.", {"page": 0x1000})
>>> print(text)
The page is at 4096.
>>> languages()
('en', 'tr')
"""

from lab.texts.catalogue import ENGLISH, language_name, languages
from lab.texts.text import Text, Value, needs_translation, placeholders

__all__ = ["Text", "Value", "languages", "language_name", "placeholders", "needs_translation", "ENGLISH"]
