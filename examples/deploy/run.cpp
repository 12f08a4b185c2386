// Runs a .tflite file on samples through LiteRT's C interface: the most likely classes, the median latency, and the outputs.
//
//     run net.tflite samples.npy outputs.npy [THREADS [RUNS]]
//
// samples.npy holds the samples along its first axis, as float32 or as integers of the file's own type. For an int8 file floats
// are scaled as the file says, and its outputs come back as floats. Several outputs go to outputs.npy, outputs.1.npy, ...
#include "npy.h"
#include "runner.h"

namespace {

void print_best(int64_t sample, const float* scores, int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  std::printf("sample %lld:", static_cast<long long>(sample));
  for (int64_t i = 0; i < std::min<int64_t>(5, count); ++i)
    std::printf("%s %lld %.4f", i ? "," : "", static_cast<long long>(order[i]), scores[order[i]]);
  std::printf("\n");
}

void run(const std::string& path, const std::string& samples_path, const std::string& outputs_path, int threads, int runs) {
  const Array samples = read_npy(samples_path);
  Runner runner(path, threads);
  const Kind& kind = kind_of(runner.input());
  const bool as_is = samples.type == kind.npy;
  if (!as_is && samples.type != "<f4")
    throw std::runtime_error("Expected samples of type <f4 or " + std::string(kind.npy) + ". Received: " + samples.type);
  const int64_t count = samples.shape.empty() ? 0 : samples.shape[0];
  const size_t bytes = static_cast<size_t>(runner.input().size()) * (as_is ? kind.bytes : sizeof(float));
  if (count == 0 || samples.bytes.size() != static_cast<size_t>(count) * bytes)
    throw std::runtime_error(samples_path + ": expected samples of " + std::to_string(runner.input().size()) + " values each");
  std::vector<std::vector<float>> outputs(runner.output_count());
  for (int64_t sample = 0; sample < count; ++sample) {
    runner.write(samples.bytes.data() + static_cast<size_t>(sample) * bytes, as_is);
    runner.run_milliseconds();
    for (size_t i = 0; i < outputs.size(); ++i) runner.read(i, outputs[i]);
    const int64_t size = runner.output(0).size();
    if (sample < 3) print_best(sample, &*outputs[0].end() - size, size);
  }
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) times.push_back(runner.run_milliseconds());
  std::sort(times.begin(), times.end());
  std::printf("median latency: %.3f ms over %d runs, %d threads\n", times[times.size() / 2], runs, threads);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const LiteRtLayout& layout = runner.output(i).type.layout;
    std::vector<int64_t> shape(layout.dimensions, layout.dimensions + layout.rank);
    shape[0] *= count;
    const std::string stem = outputs_path.substr(0, outputs_path.rfind(".npy"));
    write_npy(i == 0 ? outputs_path : stem + "." + std::to_string(i) + ".npy", shape, outputs[i]);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4 || count > 6) {
    std::fprintf(stderr, "usage: %s MODEL.tflite SAMPLES.npy OUTPUTS.npy [THREADS [RUNS]]\n", arguments[0]);
    return 2;
  }
  try {
    run(arguments[1], arguments[2], arguments[3], count > 4 ? std::max(1, std::atoi(arguments[4])) : 1,
        count > 5 ? std::max(1, std::atoi(arguments[5])) : 50);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
