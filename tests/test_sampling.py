"""`RepresentationRecorder.from_data`: samples that are drawn from the data of a training."""

import keras
import numpy as np
import pytest
from helpers import BACKEND, assert_input_error

from repdyn_keras import RepresentationRecorder, open_run
from repdyn_keras.recording.sampling.samples import draw

N, CLASSES, BATCH = 90, 3, 8
X = np.random.default_rng(0).normal(size=(N, 4)).astype("float32")
# 60, 20 and 10 images of the classes.
Y = np.repeat(np.arange(CLASSES), (60, 20, 10))
SETTINGS = {"planes": 0, "batch_size": 4}


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in an order that changes with every pass."""

    def __init__(self, x=X, y=Y, batches=-(-N // BATCH)):
        super().__init__()
        self.x, self.y, self._batches = x, y, batches

    @property
    def num_batches(self):
        return self._batches

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        # Draws, as an augmentation does.
        assert np.random.random() < 1
        return self.x[part], self.y[part]


def tensorflow_data(x=X, y=Y):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data.shuffle(N, seed=1).batch(BATCH).prefetch(1)


def torch_data(x=X, y=Y):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    generator = torch.Generator().manual_seed(1)
    return torch.utils.data.DataLoader(data, BATCH, shuffle=True, generator=generator)


KINDS = {
    "PyDataset": Batches,
    "tf.data": pytest.param(tensorflow_data, marks=pytest.mark.needs("tensorflow")),
    "DataLoader": pytest.param(torch_data, marks=pytest.mark.needs("torch")),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@pytest.mark.one_backend
@each_kind
def test_every_kind_of_data_gives_the_same_stratified_samples(make):
    drawn = draw(make(), 30, 0, "data")
    assert np.bincount(drawn.y).tolist() == pytest.approx([20, 7, 3], abs=1)
    assert (drawn.total, len(drawn.x)) == (N, 30)
    rows = {row.tobytes(): label for row, label in zip(X, Y, strict=True)}
    assert [rows[row.tobytes()] for row in drawn.x] == drawn.y.tolist()
    order = np.random.default_rng(1).permutation(N)
    shuffled = draw(Batches(X[order], Y[order]), 30, 0, "data")
    assert np.array_equal(shuffled.x, drawn.x)
    other = draw(make(), 30, 1, "data")
    assert not np.array_equal(other.x, drawn.x)


@pytest.mark.one_backend
def test_every_sample_is_drawn_equally_often():
    counts = np.zeros(N)
    places = {row.tobytes(): index for index, row in enumerate(X)}
    for seed in range(600):
        for row in draw(Batches(), 30, seed, "data").x:
            counts[places[row.tobytes()]] += 1
    # Binomial, with a standard deviation of 11.5 around 200.
    assert abs(counts - 200).max() < 5 * 11.5


@each_kind
def test_a_training_on_the_data_is_bit_identical_and_recorded(make, tmp_path, capsys):
    weights = []
    for records in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(5) for _ in range(3))])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        data, callbacks = make(), []
        if records:
            recorder = RepresentationRecorder.from_data(
                tmp_path / "run", data, 20, probe_images=40, test=Batches(), **SETTINGS
            )
            callbacks = [recorder]
        model.fit(data, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(
            [
                weight.numpy() if BACKEND != "torch" else weight.value.detach().numpy()
                for weight in model.weights
            ]
        )
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))
    assert open_run(tmp_path / "run").epochs == [0, 1, 2]
    assert len(recorder.evaluation.ids) == 20
    assert len(recorder.settings.probes.fitted.y) == 40
    assert "took 40 of 90 samples of the" in capsys.readouterr().out


@pytest.mark.one_backend
def test_copies_and_small_first_batches_are_drawn_as_all_others():
    thrice = draw(Batches(np.tile(X, (3, 1)), np.tile(Y, 3), -(-3 * N // BATCH)), 60, 0, "data")
    assert len(np.unique(thrice.x, axis=0)) > 40
    same = draw(Batches(np.zeros_like(X)), 30, 0, "data")
    assert np.bincount(same.y).tolist() == pytest.approx([20, 7, 3], abs=1)
    rare = np.arange(N) // 2
    assert len(np.unique(draw(Batches(y=rare), 45, 0, "data").y)) == 45


class Drawing(Batches):
    """Batches with a random generator of their own."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)
        self.seeds = keras.random.SeedGenerator(3)

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        noise = keras.ops.convert_to_numpy(keras.random.normal(x.shape, seed=self.seeds))
        return x + self.rng.normal(size=x.shape) + noise, y


def test_generators_that_a_data_set_holds_are_restored():
    read, other = Drawing(), Drawing()
    draw(read, 20, 0, "data")
    assert np.array_equal(read[0][0], other[0][0])


@pytest.mark.one_backend
@pytest.mark.needs("tensorflow")
def test_a_tf_data_set_is_read_as_it_was_chosen_and_cached():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y))
    once = data.shuffle(N, seed=3, reshuffle_each_iteration=False)
    chosen = {row.numpy().tobytes() for row, _ in once.take(40)}
    drawn = draw(once.take(40).batch(BATCH), 40, 0, "data")
    assert {row.tobytes() for row in drawn.x} == chosen
    anew = data.shuffle(N, seed=3).take(40).batch(BATCH)
    message = "same samples in every epoch.*reshuffle_each_iteration=False"
    assert_input_error(message, message, draw, anew, 10, 0, "data")
    cached, other = (data.shuffle(N, seed=3).cache().batch(N) for _ in range(2))
    draw(cached, 20, 0, "data")
    assert np.array_equal(next(iter(cached))[0], next(iter(other))[0])


@pytest.mark.one_backend
def test_all_are_taken_and_labels_may_be_missing():
    assert len(draw(Batches(), 1000, 0, "data").x) == N
    assert draw(Batches(), 20, 0, "data", labelled=False).y is None


class Wrong(Batches):
    """Batches that hold something else."""

    def __init__(self, change, **options):
        super().__init__(**options)
        self.change = change

    def __getitem__(self, index):
        return self.change(*super().__getitem__(index))


def sizes(x, y):
    """Samples of another shape in some batches."""
    return (x[:, :3] if y[0] else x), y


@pytest.mark.one_backend
def test_data_that_cannot_be_drawn_from_is_rejected(tmp_path):
    soft = np.full((BATCH, 3), 1 / 3)
    cases = {
        "a tf.data.Dataset, a keras.utils.PyDataset or a torch DataLoader.*ndarray": X,
        "known number of batches.*unknown number of batches. Define": Batches(batches=None),
        "with samples. Received: a PyDataset without batches": Batches(batches=0),
        "without labels, of 8 x 4. Without labels, labelled=False": Wrong(lambda x, y: x),
        "one-hot labels of data": Wrong(lambda x, y: (x, soft[: len(x)])),
        "in batches. Received": Wrong(lambda x, y: (x[0], y[0])),
        "one shape in data. Received: 3, 4": Wrong(sizes),
        "output=... as a key of the labels in data: kind. Received: output=None": Wrong(
            lambda x, y: (x, {"kind": y})
        ),
    }
    for pattern, data in cases.items():
        make = RepresentationRecorder.from_data
        assert_input_error(pattern, pattern, make, tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


@pytest.mark.one_backend
@pytest.mark.needs("tensorflow")
def test_datasets_of_tensorflow_that_cannot_be_drawn_from_are_rejected(tmp_path):
    import tensorflow as tf

    data = tensorflow_data()
    ragged = tf.data.Dataset.from_tensors((tf.ragged.constant([[1.0], [2.0, 3.0]]), [0, 1]))
    cases = {
        "an unknown number of batches.*assert_cardinality": data.filter(lambda x, y: True),
        "infinitely many batches. Give the dataset before repeat": data.repeat(),
        "data as dense arrays. Received: a RaggedTensor. Pad them": ragged,
        "in batches. Received: .* of single samples": data.unbatch().apply(
            tf.data.experimental.assert_cardinality(N)
        ),
    }
    for pattern, data in cases.items():
        make = RepresentationRecorder.from_data
        assert_input_error(pattern, pattern, make, tmp_path / "run", data)
