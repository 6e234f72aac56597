#include "text/utf8.h"

namespace irt {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

}  // namespace

void append_code_point(std::string& out, char32_t code_point) {
  const auto byte = [&out](char32_t value) { out.push_back(static_cast<char>(value)); };
  if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
    out += kReplacement;
  } else if (code_point < 0x80) {
    byte(code_point);
  } else if (code_point < 0x800) {
    byte(0xC0 | (code_point >> 6));
    byte(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    byte(0xE0 | (code_point >> 12));
    byte(0x80 | ((code_point >> 6) & 0x3F));
    byte(0x80 | (code_point & 0x3F));
  } else {
    byte(0xF0 | (code_point >> 18));
    byte(0x80 | ((code_point >> 12) & 0x3F));
    byte(0x80 | ((code_point >> 6) & 0x3F));
    byte(0x80 | (code_point & 0x3F));
  }
}

void Utf8Cleaner::push(char byte, std::string& out) {
  const auto value = static_cast<unsigned char>(byte);
  if (have_ > 0) {
    if (value >= low_ && value <= high_) {
      held_[have_++] = byte;
      low_ = 0x80;
      high_ = 0xBF;
      if (have_ == need_) {
        out.append(held_.data(), have_);
        have_ = 0;
      }
      return;
    }
    flush(out);  // the byte itself may begin a character
  }
  if (value < 0x80) {
    out.push_back(byte);
    return;
  }
  // The first continuation byte is bounded so that overlong forms, surrogates and values above
  // U+10FFFF never begin (Unicode, table 3-7).
  low_ = value == 0xE0 ? 0xA0 : value == 0xF0 ? 0x90 : 0x80;
  high_ = value == 0xED ? 0x9F : value == 0xF4 ? 0x8F : 0xBF;
  need_ = value >= 0xC2 && value <= 0xDF   ? 2
          : value >= 0xE0 && value <= 0xEF ? 3
          : value >= 0xF0 && value <= 0xF4 ? 4
                                           : 0;
  if (need_ == 0) {
    out += kReplacement;
    return;
  }
  held_[0] = byte;
  have_ = 1;
}

void Utf8Cleaner::flush(std::string& out) {
  if (have_ == 0) return;
  out += kReplacement;
  have_ = 0;
}

}  // namespace irt
