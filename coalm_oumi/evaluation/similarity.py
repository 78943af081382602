"""Rouge and BLEU of a written call against the reference: the columns of Table 3.

Table 3 comes from Hammer's evaluation, which generates through LLaMA-Factory's
`predict_with_generate`; the four numbers are those of its `ComputeSimilarity`
(`src/llamafactory/train/sft/metric.py`). It segments text as Chinese, and its BLEU-4 counts
characters, so these values are higher than the textbook's. Both are here, under different names.
"""
# pyright: standard

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Similarity:
    """The similarity of a text to its reference, each value in percent.

    Attributes:
        rouge_1: F-score of single tokens.
        rouge_2: F-score of pairs of tokens.
        rouge_l: F-score of the longest common subsequence.
        bleu_4: Sentence BLEU up to four-grams, smoothed by the third method of `nltk`.
    """

    rouge_1: float
    rouge_2: float
    rouge_l: float
    bleu_4: float


def llama_factory(text: str, reference: str) -> Similarity:
    """Compares as LLaMA-Factory does: `jieba` tokens, `rouge_chinese`, BLEU-4 of characters.

    The result equals its `ComputeSimilarity` on each sample, including the rounding to four digits.
    """
    segment, rouge, bleu = _jieba(), _rouge_chinese(), _bleu()
    # White-space tokens are lost here, as there, because the scorer splits at spaces.
    tokens, expected = " ".join(segment(text)), " ".join(segment(reference))
    if tokens.split() and expected.split():
        (scores,) = rouge(tokens, expected)
        f_scores = [scores[name]["f"] for name in ("rouge-1", "rouge-2", "rouge-l")]
    else:
        f_scores = [0.0, 0.0, 0.0]
    values = [*f_scores, bleu(list(text), list(reference))]
    return Similarity(*(round(100 * value, 4) for value in values))


def word_level(text: str, reference: str) -> Similarity:
    """Compares words: Google's `rouge_score` without stemming, and BLEU-4 of the same words."""
    score, words = _rouge_score()
    scores = score(reference, text)
    f_scores = [scores[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")]
    bleu = _bleu()(words(text), words(reference))
    return Similarity(*(100 * value for value in (*f_scores, bleu)))


# The libraries are slow to import, and only this metric needs them.


@cache
def _jieba() -> Callable[[str], list[str]]:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.lcut


@cache
def _rouge_chinese() -> Callable[[str, str], Any]:
    import rouge_chinese

    return rouge_chinese.Rouge().get_scores


@cache
def _bleu() -> Callable[[list[str], list[str]], float]:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smoothing = SmoothingFunction().method3

    def bleu(tokens: list[str], reference: list[str]) -> float:
        return float(sentence_bleu([reference], tokens, smoothing_function=smoothing))  # pyright: ignore[reportArgumentType]

    return bleu


@cache
def _rouge_score() -> tuple[Any, Callable[[str], list[str]]]:
    from rouge_score import rouge_scorer, tokenizers

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    return scorer.score, tokenizers.DefaultTokenizer(use_stemmer=False).tokenize
