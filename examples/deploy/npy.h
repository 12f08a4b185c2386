// Reads and writes NumPy's .npy files of C order, as far as run.cpp needs it.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Array {
  std::string type;  // "<f4" for float32, "|i1" for int8, ...
  std::vector<int64_t> shape;
  std::string bytes;
};

inline Array read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file || content.size() < 12 || content.compare(0, 6, "\x93NUMPY", 6) != 0)
    throw std::runtime_error("No .npy file: " + path);
  const auto byte = [&](size_t at) { return static_cast<size_t>(static_cast<unsigned char>(content[at])); };
  const bool first_version = content[6] == 1;
  const size_t start = first_version ? 10 : 12;
  const size_t size = byte(8) + (byte(9) << 8) + (first_version ? 0 : (byte(10) << 16) + (byte(11) << 24));
  if (start + size > content.size()) throw std::runtime_error("Truncated .npy file: " + path);
  const std::string header = content.substr(start, size);
  // Returns what stands between two marks that follow a key of the header.
  const auto entry = [&](const std::string& key, char open, char close) {
    const size_t from = header.find(open, header.find("'" + key + "':") + key.size() + 3) + 1;
    return header.substr(from, header.find(close, from) - from);
  };
  if (header.find("'fortran_order': False") == std::string::npos) throw std::runtime_error("Expected C order: " + path);
  Array array{entry("descr", '\'', '\''), {}, content.substr(start + size)};
  std::istringstream sizes(entry("shape", '(', ')'));
  for (std::string each; std::getline(sizes, each, ',');)
    if (each.find_first_of("0123456789") != std::string::npos) array.shape.push_back(std::stoll(each));
  return array;
}

inline void write_npy(const std::string& path, const std::vector<int64_t>& shape, const std::vector<float>& values) {
  std::string sizes;
  for (int64_t size : shape) sizes += std::to_string(size) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + sizes + "), }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";  // the data begins at a multiple of 64
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(static_cast<char>(header.size() & 0xff)).put(static_cast<char>(header.size() >> 8));
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  file.close();
  if (!file) throw std::runtime_error("Could not write " + path);
}
