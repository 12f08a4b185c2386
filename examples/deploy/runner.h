// A .tflite file of one input that is ready to run, and what its tensors mean.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "litert_c.h"
#include "tflite_file.h"

inline void check(LiteRtStatus status, const std::string& what) {
  if (status != 0) throw std::runtime_error(what + ": LiteRT returned status " + std::to_string(status));
}

// An input or output: its type, its scale (0 for real numbers), and the memory that LiteRT reads or writes.
struct Port {
  LiteRtRankedTensorType type{};
  LiteRtQuantizationPerTensor scale{0, 0};
  LiteRtTensorBuffer buffer = nullptr;

  explicit Port(LiteRtTensor tensor) {
    check(LiteRtGetRankedTensorType(tensor, &type), "The type of a tensor");
    LiteRtQuantizationTypeId kind;
    check(LiteRtGetQuantizationTypeId(tensor, &kind), "The scale of a tensor");
    if (kind == kPerTensor) check(LiteRtGetPerTensorQuantization(tensor, &scale), "The scale of a tensor");
  }
  int64_t size() const {
    return std::accumulate(type.layout.dimensions, type.layout.dimensions + type.layout.rank, int64_t{1}, std::multiplies<>());
  }
};

template <class T>
void encode(const Port& port, const float* values, void* memory) {
  for (int64_t i = 0; i < port.size(); ++i) {
    float value = values[i];
    if (port.scale.scale != 0) {
      value = std::nearbyint(value / port.scale.scale) + static_cast<float>(port.scale.zero_point);
      value = std::clamp<float>(value, std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max());
    }
    static_cast<T*>(memory)[i] = static_cast<T>(value);
  }
}

template <class T>
void decode(const Port& port, const void* memory, float* values) {
  for (int64_t i = 0; i < port.size(); ++i) {
    const float value = static_cast<float>(static_cast<const T*>(memory)[i]);
    values[i] = port.scale.scale == 0 ? value : (value - static_cast<float>(port.scale.zero_point)) * port.scale.scale;
  }
}

struct Kind {
  LiteRtElementType type;
  const char* npy;
  size_t bytes;
  void (*encode)(const Port&, const float*, void*);
  void (*decode)(const Port&, const void*, float*);
};

inline const Kind kKinds[] = {
    {kFloat32, "<f4", 4, encode<float>, decode<float>},    {kInt8, "|i1", 1, encode<int8_t>, decode<int8_t>},
    {kUInt8, "|u1", 1, encode<uint8_t>, decode<uint8_t>},  {kInt16, "<i2", 2, encode<int16_t>, decode<int16_t>},
    {kInt32, "<i4", 4, encode<int32_t>, decode<int32_t>},
};

inline const Kind& kind_of(const Port& port) {
  for (const Kind& kind : kKinds)
    if (kind.type == port.type.element_type) return kind;
  throw std::runtime_error("This program does not know tensors of type " + std::to_string(port.type.element_type));
}

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* handle) const { destroy(handle); }
};
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

class Runner {
 public:
  Runner(const std::string& path, int threads) {
    check_tflite(path);
    environment_.reset(made<LiteRtEnvironment>("LiteRT", [](auto* made) { return LiteRtCreateEnvironment(0, nullptr, made); }));
    model_.reset(made<LiteRtModel>(path, [&](auto* made) {
      return LiteRtCreateModelFromFile(environment_.get(), path.c_str(), made);
    }));
    options_.reset(made<LiteRtOptions>("The options", LiteRtCreateOptions));
    check(LiteRtSetOptionsHardwareAccelerators(options_.get(), kCpu), "The CPU");
    set_threads(threads);
    compiled_.reset(made<LiteRtCompiledModel>(path, [&](auto* made) {
      return LiteRtCreateCompiledModel(environment_.get(), model_.get(), options_.get(), made);
    }));
    find_ports(path);
    for (size_t i = 0; i < ports_.size(); ++i) allocate(i);
  }

  const Port& input() const { return ports_.front(); }
  size_t output_count() const { return ports_.size() - 1; }
  const Port& output(size_t index) const { return ports_[index + 1]; }

  // Writes one sample: real values where `as_is` is false, or the file's own type.
  void write(const char* sample, bool as_is) {
    const Kind& kind = kind_of(input());
    with_memory(0, kWrite, [&](void* memory) {
      if (as_is) std::memcpy(memory, sample, static_cast<size_t>(input().size()) * kind.bytes);
      else kind.encode(input(), reinterpret_cast<const float*>(sample), memory);
    });
  }

  double run_milliseconds() {
    std::vector<LiteRtTensorBuffer> handles;
    for (const Buffer& buffer : buffers_) handles.push_back(buffer.get());
    const auto start = std::chrono::steady_clock::now();
    check(LiteRtRunCompiledModel(compiled_.get(), 0, 1, handles.data(), handles.size() - 1, handles.data() + 1), "The run");
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  // Appends the real values of one output.
  void read(size_t index, std::vector<float>& values) {
    const Port& port = output(index);
    values.resize(values.size() + static_cast<size_t>(port.size()));
    with_memory(index + 1, kRead, [&](void* memory) { kind_of(port).decode(port, memory, &*values.end() - port.size()); });
  }

 private:
  using Buffer = Owned<LiteRtTensorBuffer, LiteRtDestroyTensorBuffer>;

  template <class Handle, class Make>
  static Handle made(const std::string& what, Make make) {
    Handle handle = nullptr;
    check(make(&handle), what);
    return handle;
  }

  void set_threads(int threads) {
    char* content = static_cast<char*>(std::malloc(32));
    std::snprintf(content, 32, "num_threads = %d\n", threads);
    LiteRtOpaqueOptions cpu;
    check(LiteRtCreateOpaqueOptions("xnnpack", content, std::free, &cpu), "The number of threads");
    check(LiteRtAddOpaqueOptions(options_.get(), cpu), "The number of threads");
  }

  // Lists the input and then the outputs. A dimension of any size, the batch as a rule, becomes 1.
  void find_ports(const std::string& path) {
    const auto signature =
        made<LiteRtSignature>(path, [&](auto* made) { return LiteRtGetModelSignature(model_.get(), 0, made); });
    size_t inputs = 0, outputs = 0;
    check(LiteRtGetNumSignatureInputs(signature, &inputs), path);
    check(LiteRtGetNumSignatureOutputs(signature, &outputs), path);
    if (inputs != 1) throw std::runtime_error(path + " takes " + std::to_string(inputs) + " inputs. Expected one.");
    ports_.emplace_back(made<LiteRtTensor>(
        path, [&](auto* made) { return LiteRtGetSignatureInputTensorByIndex(signature, 0, made); }));
    LiteRtLayout& layout = ports_[0].type.layout;
    if (std::count(layout.dimensions, layout.dimensions + layout.rank, -1) > 0) {
      std::replace(layout.dimensions, layout.dimensions + layout.rank, -1, 1);
      check(LiteRtCompiledModelResizeInputTensor(compiled_.get(), 0, 0, layout.dimensions, layout.rank), path);
    }
    std::vector<LiteRtLayout> layouts(outputs);
    check(LiteRtGetCompiledModelOutputTensorLayouts(compiled_.get(), 0, outputs, layouts.data(), true), path);
    for (size_t i = 0; i < outputs; ++i) {
      ports_.emplace_back(made<LiteRtTensor>(
          path, [&](auto* made) { return LiteRtGetSignatureOutputTensorByIndex(signature, i, made); }));
      ports_.back().type.layout = layouts[i];
    }
  }

  void allocate(size_t index) {
    const auto needs = made<LiteRtTensorBufferRequirements>("The memory", [&](auto* made) {
      return index == 0 ? LiteRtGetCompiledModelInputBufferRequirements(compiled_.get(), 0, 0, made)
                        : LiteRtGetCompiledModelOutputBufferRequirements(compiled_.get(), 0, index - 1, made);
    });
    buffers_.emplace_back(made<LiteRtTensorBuffer>("The memory", [&](auto* made) {
      return LiteRtCreateManagedTensorBufferFromRequirements(environment_.get(), &ports_[index].type, needs, made);
    }));
  }

  template <class Use>
  void with_memory(size_t index, LiteRtTensorBufferLockMode mode, Use use) {
    void* memory = nullptr;
    check(LiteRtLockTensorBuffer(buffers_[index].get(), &memory, mode), "The memory");
    use(memory);
    check(LiteRtUnlockTensorBuffer(buffers_[index].get()), "The memory");
  }

  Owned<LiteRtEnvironment, LiteRtDestroyEnvironment> environment_;  // what follows lives in it, and is destroyed before it
  Owned<LiteRtModel, LiteRtDestroyModel> model_;
  Owned<LiteRtOptions, LiteRtDestroyOptions> options_;
  Owned<LiteRtCompiledModel, LiteRtDestroyCompiledModel> compiled_;
  std::vector<Port> ports_;
  std::vector<Buffer> buffers_;
};
