#include "text/literal.h"

#include <utility>

namespace irt {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

constexpr bool is_digit(char byte) noexcept { return byte >= '0' && byte <= '9'; }

constexpr bool is_number_byte(char byte) noexcept {
  return is_digit(byte) || byte == '-' || byte == '+' || byte == '.' || byte == 'e' || byte == 'E';
}

// -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(std::string_view text) noexcept {
  std::size_t at = 0;
  const auto digits = [&text, &at] {
    const std::size_t from = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at - from;
  };
  const auto take = [&text, &at](std::string_view any) {
    const bool here = at < text.size() && any.find(text[at]) != std::string_view::npos;
    at += here ? 1 : 0;
    return here;
  };
  take("-");
  if (take("0") ? false : digits() == 0) return false;
  if (take(".") && digits() == 0) return false;
  if (take("eE")) {
    take("+-");
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// The character of a one-letter escape, or 0.
constexpr char simple_escape(char byte) noexcept {
  constexpr std::string_view kLetters = "\"'\\/abfnrtv";
  constexpr std::string_view kMeant = "\"'\\/\a\b\f\n\r\t\v";
  const std::size_t at = kLetters.find(byte);
  return at == std::string_view::npos ? '\0' : kMeant[at];
}

constexpr int hex_digit(char byte) noexcept {
  if (is_digit(byte)) return byte - '0';
  const char lower = static_cast<char>(byte | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

constexpr bool is_high_surrogate(char32_t value) noexcept {
  return value >= 0xD800 && value <= 0xDBFF;
}

constexpr bool is_low_surrogate(char32_t value) noexcept {
  return value >= 0xDC00 && value <= 0xDFFF;
}

}  // namespace

void append_code_point(std::string& out, char32_t code_point) {
  const auto byte = [&out](char32_t value) { out.push_back(static_cast<char>(value)); };
  if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
    out += kReplacement;
  } else if (code_point < 0x80) {
    byte(code_point);
  } else {
    const int more = code_point < 0x800     ? 1
                     : code_point < 0x10000 ? 2
                                            : 3;  // bytes behind the lead
    byte((0x780U >> more & 0xF0U) | code_point >> (6 * more));
    for (int left = more - 1; left >= 0; --left) byte(0x80 | (code_point >> (6 * left) & 0x3F));
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

void LiteralReader::feed(char byte, std::size_t offset, LexemeSink& sink) {
  if (status_ != Status::kOpen) return;
  switch (lex_) {
    case Lex::kString: string_byte(byte, sink); return;
    case Lex::kEscape: escape_byte(byte); return;
    case Lex::kHex: hex_byte(byte); return;
    case Lex::kWord: word_byte(byte, sink); return;
    case Lex::kNumber:
      if (is_number_byte(byte)) {
        text_.push_back(byte);
        if (text_.size() > kMaxNumberBytes) fail("a number of more than 64 characters");
        return;
      }
      end_number(sink);  // only the byte after a number shows that it has ended
      if (status_ == Status::kOpen) structure(byte, offset, sink);
      return;
    case Lex::kBetween: structure(byte, offset, sink); return;
  }
}

void LiteralReader::structure(char byte, std::size_t offset, LexemeSink& sink) {
  if (is_space(byte)) return;
  switch (byte) {
    case '{': return open(true, offset, sink);
    case '[': return open(false, offset, sink);
    case '}': return close(true, offset, sink);
    case ']': return close(false, offset, sink);
    case '"':
    case '\'': return begin_string(byte, offset);
    case ':':
      if (expect_ != Expect::kColon) return fail("a colon that follows no key");
      expect_ = Expect::kValue;
      return;
    case ',':
      if (expect_ != Expect::kCommaOrEnd) return fail("a comma that follows no value");
      expect_ = is_object_[static_cast<std::size_t>(depth_ - 1)] ? Expect::kKeyOrEnd
                                                                 : Expect::kValueOrEnd;
      return;
    default: break;
  }
  if (!value_may_begin()) return fail("a byte where a comma, a colon, a key or an end belongs");
  start_ = offset;
  if (byte == '-' || is_digit(byte)) {
    lex_ = Lex::kNumber;
    text_.assign(1, byte);
    return;
  }
  begin_word(byte, offset);
}

void LiteralReader::open(bool object, std::size_t offset, LexemeSink& sink) {
  if (!value_may_begin()) return fail("a container where no value belongs");
  if (depth_ == kMaxDepth) return fail("more than 32 nested containers");
  emit(object ? LexemeKind::kBeginObject : LexemeKind::kBeginArray, offset, {}, sink);
  is_object_[static_cast<std::size_t>(depth_++)] = object;
  expect_ = object ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
}

void LiteralReader::close(bool object, std::size_t offset, LexemeSink& sink) {
  const Expect empty = object ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
  if (depth_ == 0 || is_object_[static_cast<std::size_t>(depth_ - 1)] != object ||
      (expect_ != empty && expect_ != Expect::kCommaOrEnd)) {
    return fail("an end that matches no beginning");
  }
  --depth_;
  emit(object ? LexemeKind::kEndObject : LexemeKind::kEndArray, offset, {}, sink);
  after_value();
}

void LiteralReader::begin_string(char quote, std::size_t offset) {
  is_key_ = expect_ == Expect::kKeyOrEnd;
  if (!is_key_ && !value_may_begin()) return fail("a string where none belongs");
  lex_ = Lex::kString;
  quote_ = quote;
  start_ = offset;
  text_.clear();
}

void LiteralReader::string_byte(char byte, LexemeSink& sink) {
  if (byte == quote_) return end_string(sink);
  if (byte == '\\') {
    utf8_.flush(text_);
    lex_ = Lex::kEscape;
    return;
  }
  text_byte(byte);
}

void LiteralReader::escape_byte(char byte) {
  lex_ = Lex::kString;
  if (byte == 'u' || byte == 'U' || byte == 'x') {
    lex_ = Lex::kHex;
    hex_left_ = byte == 'x' ? 2 : byte == 'u' ? 4 : 8;
    code_point_ = 0;
  } else if (const char plain = simple_escape(byte)) {
    text_byte(plain);
  } else if (byte == '\n') {  // a backslash before a line's end joins the lines
    drop_surrogate();
  } else {
    text_byte('\\');
    text_byte(byte);
  }
}

void LiteralReader::hex_byte(char byte) {
  const int digit = hex_digit(byte);
  if (digit < 0) return fail("an escape with too few hexadecimal digits");
  code_point_ = code_point_ * 16 + static_cast<char32_t>(digit);
  if (--hex_left_ == 0) end_code_point();
}

void LiteralReader::end_code_point() {
  lex_ = Lex::kString;
  if (code_point_ > 0x10FFFF) return fail("an escape beyond U+10FFFF");
  if (surrogate_ != 0 && is_low_surrogate(code_point_)) {
    code_point_ = 0x10000 + ((surrogate_ - 0xD800) << 10) + (code_point_ - 0xDC00);
    surrogate_ = 0;
  }
  drop_surrogate();
  if (is_high_surrogate(code_point_)) {
    surrogate_ = code_point_;
  } else {
    append_code_point(text_, code_point_);
  }
  if (text_.size() > kMaxStringBytes) fail("a string of more than 64 KiB");
}

void LiteralReader::text_byte(char byte) {
  drop_surrogate();
  utf8_.push(byte, text_);
  if (text_.size() > kMaxStringBytes) fail("a string of more than 64 KiB");
}

void LiteralReader::drop_surrogate() {
  if (surrogate_ == 0) return;
  append_code_point(text_, surrogate_);  // alone it is no character: U+FFFD
  surrogate_ = 0;
}

void LiteralReader::end_string(LexemeSink& sink) {
  drop_surrogate();
  utf8_.flush(text_);
  if (text_.size() > kMaxStringBytes) return fail("a string of more than 64 KiB");
  lex_ = Lex::kBetween;
  if (is_key_) {
    emit(LexemeKind::kKey, start_, text_, sink);
    expect_ = Expect::kColon;
  } else {
    value(LexemeKind::kString, text_, sink);
  }
}

void LiteralReader::begin_word(char byte, std::size_t offset) {
  static constexpr std::pair<std::string_view, LexemeKind> kWords[] = {
      {"true", LexemeKind::kTrue},   {"True", LexemeKind::kTrue}, {"false", LexemeKind::kFalse},
      {"False", LexemeKind::kFalse}, {"null", LexemeKind::kNull}, {"None", LexemeKind::kNull}};
  for (const auto& [text, kind] : kWords) {
    if (text.front() != byte) continue;
    lex_ = Lex::kWord;
    word_ = text.substr(1);
    word_kind_ = kind;
    start_ = offset;
    return;
  }
  fail("a byte that begins no value");
}

void LiteralReader::word_byte(char byte, LexemeSink& sink) {
  if (word_.front() != byte) return fail("a word other than true, false and null");
  word_.remove_prefix(1);
  if (!word_.empty()) return;
  lex_ = Lex::kBetween;
  value(word_kind_, {}, sink);
}

void LiteralReader::end_number(LexemeSink& sink) {
  lex_ = Lex::kBetween;
  if (!is_number(text_)) return fail("a malformed number");
  value(LexemeKind::kNumber, text_, sink);
}

void LiteralReader::value(LexemeKind kind, std::string_view text, LexemeSink& sink) {
  emit(kind, start_, text, sink);
  after_value();
}

void LiteralReader::emit(LexemeKind kind, std::size_t offset, std::string_view text,
                         LexemeSink& sink) {
  if (!sink.on_lexeme({kind, depth_, offset, text})) status_ = Status::kStopped;
}

void LiteralReader::after_value() {
  if (depth_ > 0) {
    expect_ = Expect::kCommaOrEnd;
  } else if (status_ == Status::kOpen) {
    status_ = Status::kClosed;
  }
}

void LiteralReader::fail(std::string_view problem) {
  status_ = Status::kFailed;
  problem_ = problem;
}

}  // namespace irt
