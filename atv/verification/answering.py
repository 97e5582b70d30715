"""Whether a saved model answers."""

import torch
from PIL import Image
from transformers import ProcessorMixin

from atv.data.conversations import encode
from atv.verification.errors import VerificationError
from atv.verification.saved_model import SavedModel

QUESTION = "What is in the picture?"


def answer(model: SavedModel, processor: ProcessorMixin, tokens: int) -> str:
    """Greedy decoding of at most ``tokens`` tokens after a picture (a grey ramp) and a question.

    Raises:
        VerificationError: when generation fails, gives no token, or logits that are not finite.
    """
    turn = [[{"role": "user", "content": QUESTION, "text": QUESTION}]]
    ramp = Image.linear_gradient("L").convert("RGB")
    try:
        inputs = encode(processor, turn, [ramp], prompt=True)
        with torch.no_grad():
            # generate()'s types do not know the options' names.
            made = model.lvlm.model.generate(  # type: ignore[operator]
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                num_beams=1,
                return_dict_in_generate=True,
                output_logits=True,
            )
    except Exception as error:
        raise VerificationError(f"the model does not generate: {type(error).__name__}: {error}") from error
    new = made.sequences[0, inputs["input_ids"].shape[1] :]
    if not len(new) or not all(step.isfinite().all() for step in made.logits):
        raise VerificationError("the model gives no token, or logits that are not finite")
    return str(processor.decode(new, skip_special_tokens=True))
