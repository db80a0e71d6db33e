"""What a model is by its settings, of which transformers has a class or has not. No weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmtp.errors import ModelError, described
from wmtp.model_files import CONFIG, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MULTI_TOKEN = "wmtp_mtp"
"""The type of wmtp's own models, around a decoder of another."""


def require_causal(path_or_hub_id: str, where: str, *, revision: str | None = None) -> None:
    """The settings are of a kind that transformers has a causal language model of, or of wmtp's own.

    Raises:
        ModelError: they are not, or there are none.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers import __version__ as version

    config = _config(path_or_hub_id, where, revision)
    if config is None:
        return  # its decoder's type is one that heads could be put on
    if config.is_encoder_decoder:
        raise ModelError(f"{where}: a {config.model_type} model has an encoder: it is no causal language model")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{where}: transformers {version} has no causal language model of type {config.model_type}")


def completing_class(path_or_hub_id: str, where: str, *, revision: str | None = None) -> Any:
    """The automatic class of transformers' that completes texts with a model of these settings, heads or no heads.

    A causal language model's, that of models with an encoder for texts, or that of several kinds of inputs, of which texts are
    one; the first of these that knows the settings.

    Raises:
        ModelError: there is none, or there are no settings.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, AutoModelForSeq2SeqLM
    from transformers import __version__ as version

    config = _config(path_or_hub_id, where, revision)
    if config is None:
        return AutoModelForCausalLM
    for kind in (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM, AutoModelForMultimodalLM):
        if type(config) in kind._model_mapping:
            return kind
    raise ModelError(f"{where}: transformers {version} has no model of type {config.model_type} that completes texts")


def _config(path_or_hub_id: str, where: str, revision: str | None) -> PreTrainedConfig | None:
    """The settings; None for those of wmtp's own models.

    Raises:
        ModelError: there are none, or they are of a type that transformers does not know.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id
    from transformers import AutoConfig
    from transformers import __version__ as version
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    folder = Path(path_or_hub_id)
    settings = read_object(folder / CONFIG) if folder.exists() else None
    if settings is not None and settings["model_type"] == MULTI_TOKEN:
        return None
    if settings is not None and settings["model_type"] not in CONFIG_MAPPING:
        own = " (its own code, which auto_map names, is not run)" if "auto_map" in settings else ""
        raise ModelError(f"{where}: transformers {version} has no model of type {settings['model_type']}{own}")
    try:
        if settings is None:
            validate_repo_id(path_or_hub_id)
        config: PreTrainedConfig = AutoConfig.from_pretrained(path_or_hub_id, revision=revision)
    except HFValidationError:
        raise ModelError(f"{where}: {path_or_hub_id} does not exist, and is no hub id (owner/name)") from None
    except Exception as error:  # transformers raises whatever it meets in somebody's files
        missing = "" if Path(path_or_hub_id).exists() else "no folder here, and as a hub id: "
        raise ModelError(f"{where}: {missing}{described(error)}") from None
    return config
