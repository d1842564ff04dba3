"""`pip install .` for use as a library; the two scripts run from a clone."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="ke_t5",
    version="0.1.0",
    description="Fine-tune, test and export any Hugging Face model on any Korean task",
    long_description=Path(__file__).with_name("README.en.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["ke_t5", "ke_t5.*"]),
    package_data={"ke_t5.sample": ["spiece.model"]},
    install_requires=[
        "torch>=2.11",
        "transformers>=5.17,<6",
        "datasets>=5.0,<6",
        "huggingface_hub>=2.0,<3",
        "safetensors>=0.6",
        "sentencepiece>=0.2",
        "protobuf>=5",
        "gin-config>=0.5",
        "numpy>=2.0",
        "scipy>=1.13",
        "scikit-learn>=1.6",
        "seqeval>=1.2.2",
        "rouge-score>=0.1.2",
        "sacrebleu>=2.4",
        "matplotlib>=3.9",
        "tensorboard>=2.17",
        "tqdm>=4.66",
        "filelock>=3.12",
    ],
)
