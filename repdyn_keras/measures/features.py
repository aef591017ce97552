"""The features of the evaluation images, which only some measures need."""

import numpy as np

from repdyn_keras.measures import Arrays, Measure, State


def on_state(state: State) -> Arrays:
    """The pooled features of all layers, one below the other, if they are asked for."""
    features = state.evaluation_features
    if features is None:
        return {}
    return {
        "features": np.concatenate([x.T for x in features]).astype(np.float32),
        "feature_width": np.array([x.shape[1] for x in features]),
    }


MEASURE = Measure(
    name="features",
    title="features",
    recorded={"features": ("feature", "compared_image"), "feature_width": ("layer",)},
    on_state=on_state,
)
