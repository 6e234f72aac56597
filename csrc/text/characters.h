// Characters of a byte stream of UTF-8 that may be cut anywhere or be wrong.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace irt {

struct Character {
  char32_t value = 0;
  std::size_t offset = 0;  // of its first byte in the stream
};

// Appends `code_point`; a surrogate or a value above U+10FFFF becomes U+FFFD.
void append_code_point(std::string& out, char32_t code_point);

// Every maximal ill-formed sequence becomes one U+FFFD, as in Python's
// `bytes.decode("utf-8", "replace")`.
class Utf8Decoder {
 public:
  // Appends what ends with the byte at `offset`: nothing, a character, or two (an ill-formed
  // sequence, and the byte that shows it).
  void push(char byte, std::size_t offset, std::vector<Character>& out);
  // Ends an unfinished sequence.
  void flush(std::vector<Character>& out);

 private:
  char32_t value_ = 0;
  std::size_t start_ = 0;
  int left_ = 0;              // continuation bytes still to come
  unsigned char low_ = 0x80;  // bounds of the next one
  unsigned char high_ = 0xBF;
};

// The bytes as valid UTF-8; no character begins after `most` bytes of it.
[[nodiscard]] std::string clean_utf8(std::string_view bytes, std::size_t most = std::string::npos);

}  // namespace irt
