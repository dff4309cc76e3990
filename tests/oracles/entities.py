"""Slow, plain entity reading: words, labels of words, and chunks as the CoNLL evaluation script reads them."""


def label_of_word(rows, strategy):
    """(label, score) of a word from the probabilities of its tokens, lists of floats."""
    if strategy == "first":
        chosen = rows[0]
    elif strategy == "max":
        chosen = rows[0]
        for row in rows[1:]:
            if max(row) > max(chosen):
                chosen = row
    else:
        chosen = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    best = max(chosen)
    return chosen.index(best), best


def chunks(labels, scheme):
    """(type, first, last) of the chunks of a list of label names; a chunk of "O" for every run of "O"."""
    prefixes = {"iob1": "BI", "iob2": "BI", "bioes": "BIES", "bilou": "BILU", "plain": ""}[scheme]
    found = []
    previous = None
    for i, label in enumerate(labels):
        prefix, kind = "", label
        if len(label) > 1 and label[1] == "-" and label[0] in prefixes:
            prefix, kind = label[0], label[2:]
        starts = (
            previous is None
            or previous[1] != kind
            or (previous[0] == "") != (prefix == "")
            or prefix in ("B", "S", "U")
            or previous[0] in ("E", "L", "S", "U")
        )
        if starts:
            found.append([kind, i, i])
        else:
            found[-1][2] = i
        previous = (prefix, kind)
    return [tuple(chunk) for chunk in found]
