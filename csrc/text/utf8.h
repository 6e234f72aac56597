// UTF-8 for byte streams that may be cut anywhere or be wrong.
#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace irt {

// Appends `code_point`; a surrogate or a value above U+10FFFF becomes U+FFFD.
void append_code_point(std::string& out, char32_t code_point);

// Copies bytes to a string that is valid UTF-8 after every call. Every maximal ill-formed
// sequence becomes one U+FFFD, as `bytes.decode("utf-8", "replace")` does in Python.
class Utf8Cleaner {
 public:
  void push(char byte, std::string& out);
  // Ends an unfinished sequence, at the end of the text or before a character that is not text.
  void flush(std::string& out);
  [[nodiscard]] bool pending() const noexcept { return have_ > 0; }

 private:
  std::array<char, 4> held_{};
  std::size_t have_ = 0;
  std::size_t need_ = 0;
  unsigned char low_ = 0x80;  // bounds of the next continuation byte
  unsigned char high_ = 0xBF;
};

}  // namespace irt
