// Tells whether a file is a whole .tflite file. LiteRT's C interface does not look, and crashes on one that is cut short.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

// Reads a FlatBuffer, and throws where it points outside of the file.
class FlatBuffer {
 public:
  explicit FlatBuffer(const std::string& content) : content_(content) {}  // which outlives it

  template <class T>
  T at(uint64_t position) const {
    check(position + sizeof(T));
    T value;
    std::memcpy(&value, content_.data() + position, sizeof value);
    return value;
  }
  void check(uint64_t end) const {
    if (end > content_.size()) throw std::out_of_range("the file ends before its content");
  }
  uint64_t follow(uint64_t position) const { return position + at<uint32_t>(position); }

  // Returns where the field of a table points to, or 0 where the table does not have it.
  uint64_t field(uint64_t table, uint64_t index) const {
    const auto fields = static_cast<uint64_t>(static_cast<int64_t>(table) - at<int32_t>(table));
    const uint64_t entry = 4 + 2 * index;
    const uint16_t offset = entry < at<uint16_t>(fields) ? at<uint16_t>(fields + entry) : 0;
    return offset == 0 ? 0 : follow(table + offset);
  }

 private:
  const std::string& content_;
};

inline void check_tflite(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(stream), {}};
  if (content.size() < 8 || content.compare(4, 4, "TFL3") != 0) throw std::runtime_error("No .tflite file: " + path);
  const FlatBuffer file(content);
  try {
    const uint64_t buffers = file.field(file.follow(0), 4);  // the weights, which stand at the end of the file
    for (uint32_t i = 0; buffers != 0 && i < file.at<uint32_t>(buffers); ++i)
      if (const uint64_t data = file.field(file.follow(buffers + 4 + 4 * i), 0)) file.check(data + 4 + file.at<uint32_t>(data));
  } catch (const std::out_of_range& error) {
    throw std::runtime_error("No whole .tflite file, " + std::string(error.what()) + ": " + path);
  }
}
