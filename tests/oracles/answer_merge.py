"""Slow, plain merge of candidate answers, one candidate after the other."""


def merged(candidates, contexts, top_k, nulls=None, combine="sum"):
    """candidates: (question, score, start, end) in order. nulls: per question its windows' null scores, or None.

    Returns for every question the list of (score, start, end, text).
    """
    found = []
    for question, context in enumerate(contexts):
        answers = []
        for owner, score, start, end in candidates:
            if owner != question:
                continue
            text = context[start:end]
            for answer in answers:
                if answer[3].lower() == text.lower():
                    answer[0] = answer[0] + score if combine == "sum" else max(answer[0], score)
                    break
            else:
                answers.append([score, start, end, text])
        if nulls is not None:
            answers.append([min([1000000, *nulls[question]]), 0, 0, ""])
        answers.sort(key=lambda answer: -answer[0])
        found.append([tuple(answer) for answer in answers[:top_k]])
    return found
