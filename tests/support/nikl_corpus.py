"""A corpus of NIKL's named entities in its documented shape."""

SENTENCE = "NWRW1800000029.315.1"


def sentence(number, key="NE", **change):
    entity = {"id": 1, "form": "강릉", "label": "LC", "begin": 0, "end": 2}
    form = "강릉은 바다다."
    return {"id": f"{SENTENCE}.{number}", "form": form, "word": [], key: [entity | change]}


def corpus(*sentences, document="NWRW1800000029.315"):
    metadata = {"title": "개체명", "annotation_level": ["개체명"]}
    documents = [{"id": document, "metadata": {"title": "글"}, "sentence": list(sentences)}]
    return {"id": "NXNE1902008030", "metadata": metadata, "document": documents}


def row(number, label="LC"):
    return {
        "id": f"{SENTENCE}.{number}",
        "document": "NWRW1800000029.315",
        "text": "강릉은 바다다.",
        "entities": [{"start": 0, "end": 2, "label": label}],
    }
