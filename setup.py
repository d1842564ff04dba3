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
    # Installed and tested as they stand here by .ci/run (requirements-oldest.txt).
    install_requires=[
        "torch>=2.11",
        "transformers>=5.17,<6",
        "datasets>=5.0,<6",
        "huggingface_hub>=1.5,<3",
        "safetensors>=0.8",
        "sentencepiece>=0.2.2",
        "protobuf>=5.27",
        "gin-config>=0.5",
        "numpy>=2.1",
        "scipy>=1.14.1",
        "scikit-learn>=1.6",
        "seqeval>=1.2.2",
        "rouge-score>=0.1.2",
        "sacrebleu>=2.4",
        "matplotlib>=3.9.2",
        "tensorboard>=2.18",
        "tqdm>=4.66.3",
        "filelock>=3.12",
    ],
)
