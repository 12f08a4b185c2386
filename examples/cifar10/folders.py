"""The folders that the programs share, as flags."""

from absl import flags

DATA = flags.DEFINE_string("data_dir", None, "Folder of TensorFlow Datasets; by default TFDS_DATA_DIR.")
RUNS = flags.DEFINE_string("runs", "runs/cifar10", "Folder of the runs: their checkpoints, histories and models.")
RESULTS = flags.DEFINE_string("results", "examples/cifar10/results", "Folder of the JSON results.")
