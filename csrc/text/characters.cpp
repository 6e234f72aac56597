#include "text/characters.h"

namespace irt {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

}  // namespace

void append_code_point(std::string& out, char32_t code_point) {
  const auto byte = [&out](char32_t value) { out.push_back(static_cast<char>(value)); };
  if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
    code_point = kReplacement;
  }
  if (code_point < 0x80) return byte(code_point);
  const int more = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;  // bytes behind the lead
  byte((0x780U >> more & 0xF0U) | code_point >> (6 * more));
  for (int left = more - 1; left >= 0; --left) byte(0x80 | (code_point >> (6 * left) & 0x3F));
}

void Utf8Decoder::push(char byte, std::size_t offset, std::vector<Character>& out) {
  const auto value = static_cast<unsigned char>(byte);
  if (left_ > 0) {
    if (value >= low_ && value <= high_) {
      value_ = value_ << 6 | (value & 0x3FU);
      low_ = 0x80;
      high_ = 0xBF;
      if (--left_ == 0) out.push_back({value_, start_});
      return;
    }
    flush(out);  // the byte itself may begin a character
  }
  start_ = offset;
  if (value < 0x80) return out.push_back({value, offset});
  // The first continuation byte is bounded so that overlong forms, surrogates and values above
  // U+10FFFF never begin (Unicode, table 3-7).
  low_ = value == 0xE0 ? 0xA0 : value == 0xF0 ? 0x90 : 0x80;
  high_ = value == 0xED ? 0x9F : value == 0xF4 ? 0x8F : 0xBF;
  left_ = value >= 0xC2 && value <= 0xDF   ? 1
          : value >= 0xE0 && value <= 0xEF ? 2
          : value >= 0xF0 && value <= 0xF4 ? 3
                                           : 0;
  if (left_ == 0) return out.push_back({kReplacement, offset});
  value_ = value & (0x3FU >> left_);
}

void Utf8Decoder::flush(std::vector<Character>& out) {
  if (left_ > 0) out.push_back({kReplacement, start_});
  left_ = 0;
}

std::string clean_utf8(std::string_view bytes, std::size_t most) {
  Utf8Decoder decoder;
  std::vector<Character> characters;
  std::string out;
  for (std::size_t i = 0; i <= bytes.size(); ++i) {
    characters.clear();
    i < bytes.size() ? decoder.push(bytes[i], i, characters) : decoder.flush(characters);
    for (const Character& character : characters) {
      if (out.size() >= most) return out;
      append_code_point(out, character.value);
    }
  }
  return out;
}

}  // namespace irt
