"""Models. After this import, transformers' Auto classes and pipelines know our model types."""

from ke_t5.models import models as models
