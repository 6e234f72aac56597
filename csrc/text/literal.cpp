#include "text/literal.h"

#include <algorithm>
#include <utility>

namespace irt {
namespace {

constexpr std::u32string_view kEndTagText = U"</answer";

// What means the same as an ASCII character between values.
constexpr char32_t plain(char32_t value) noexcept {
  constexpr std::pair<std::u32string_view, char32_t> kForms[] = {
      {U"\t\n\v\f\r\u0085\u00A0\u2028\u2029\u202F\u205F\u3000\uFEFF", U' '},
      {U"\uFF0C\u3001", U','},
      {U"\uFF1A", U':'}};
  if (value >= 0x2000 && value <= 0x200B) return U' ';
  for (const auto& [forms, meant] : kForms) {
    if (forms.find(value) != std::u32string_view::npos) return meant;
  }
  return value;
}

// The quotes that may end what this one begins; none: it is no quote.
constexpr std::u32string_view ends_of(char32_t value) noexcept {
  constexpr std::pair<std::u32string_view, std::u32string_view> kQuotes[] = {
      {U"\"", U"\""},
      {U"'", U"'"},
      {U"\u201C\u201D\u201E\u201F", U"\u201D\u201C\u201F\""},
      {U"\u2018\u2019\u201A\u201B", U"\u2019\u2018\u201B'"}};
  for (const auto& [begins, ends] : kQuotes) {
    if (begins.find(value) != std::u32string_view::npos) return ends;
  }
  return {};
}

constexpr bool is_any(std::u32string_view of, char32_t value) noexcept {
  return of.find(value) != std::u32string_view::npos;
}

constexpr bool is_digit(char32_t value) noexcept { return value >= U'0' && value <= U'9'; }

constexpr bool in_number(char32_t value) noexcept {
  return is_digit(value) || is_any(U"+-.eE", value);
}

constexpr char32_t lower(char32_t value) noexcept {
  return value >= U'A' && value <= U'Z' ? value + 32 : value;
}

constexpr bool is_letter(char32_t value) noexcept {
  return (lower(value) >= U'a' && lower(value) <= U'z') || value == U'_';
}

// The character of a one-letter escape, or 0.
constexpr char32_t simple_escape(char32_t value) noexcept {
  constexpr std::u32string_view kLetters = U"\"'\\/abfnrtv";
  constexpr std::u32string_view kMeant = U"\"'\\/\a\b\f\n\r\t\v";
  const std::size_t at = kLetters.find(value);
  return at == std::u32string_view::npos ? U'\0' : kMeant[at];
}

// -1: no digit.
constexpr int hex_digit(char32_t value) noexcept {
  const std::size_t at = std::u32string_view(U"0123456789abcdef").find(lower(value));
  return at == std::u32string_view::npos ? -1 : static_cast<int>(at);
}

constexpr bool is_high_surrogate(char32_t value) noexcept {
  return value >= 0xD800 && value <= 0xDBFF;
}

constexpr bool is_low_surrogate(char32_t value) noexcept {
  return value >= 0xDC00 && value <= 0xDFFF;
}

}  // namespace

void LiteralReader::feed(const Character& character, LexemeSink& sink,
                         std::vector<Character>& again) {
  if (status_ != Status::kOpen) return;
  if (!on_trial_) return step(character, sink);
  held_.push_back(character);
  const bool counts = lex_ != Lex::kBetween || plain(character.value) != U' ';
  if ((counts && ++spent_ > kMaxTrial) || held_.size() > kMaxStringBytes) {
    fail({});
  } else {
    step(character, sink);
  }
  if (!on_trial_) give_back(again);
}

bool LiteralReader::end(std::vector<Character>& again) {
  if (status_ != Status::kOpen || !on_trial_) return false;
  fail({});
  give_back(again);
  return true;
}

// After a trial.
void LiteralReader::give_back(std::vector<Character>& again) {
  if (lex_ == Lex::kString && status_ == Status::kOpen) {
    again.insert(again.end(), held_.rbegin(), held_.rend());
  }
  held_.clear();
}

void LiteralReader::step(const Character& character, LexemeSink& sink) {
  const char32_t value = character.value;
  switch (lex_) {
    case Lex::kBetween: return between(character, sink);
    case Lex::kString: return string_character(character);
    case Lex::kEscape: return escape(value);
    case Lex::kHex: return hex(character);
    case Lex::kNumber:
      if (!in_number(value)) {  // only the character after a number shows that it has ended
        scalar(LexemeKind::kNumber, text_, sink);
        if (status_ == Status::kOpen) between(character, sink);
        return;
      }
      append_code_point(text_, value);
      if (text_.size() > kMaxNumberBytes) fail("a number of more than 64 characters");
      return;
    case Lex::kWord: return word(value, sink);
    case Lex::kQuotedKey: return quoted_key(value);
    case Lex::kBareKey: return bare_key(character, sink);
    case Lex::kInnerKey: return inner_key(value);
    case Lex::kSlash:
      if (value != U'/' && value != U'*') return fail("a slash that begins no comment");
      lex_ = value == U'/' ? Lex::kLineComment : Lex::kBlockComment;
      return;
    case Lex::kLineComment:
      if (value == U'\n') lex_ = Lex::kBetween;
      return;
    case Lex::kBlockComment:
      if (value == U'*') lex_ = Lex::kStar;
      return;
    case Lex::kStar:
      if (value != U'*') lex_ = value == U'/' ? Lex::kBetween : Lex::kBlockComment;
      return;
    case Lex::kEndTag: return end_tag(character, sink);
  }
}

void LiteralReader::between(const Character& character, LexemeSink& sink) {
  const char32_t value = plain(character.value);
  switch (value) {
    case U' ': return;
    case U'{':
    case U'[': return open(value == U'{', character.offset, sink);
    case U'}':
    case U']': return close(value == U'}', character.offset, sink);
    case U':': return end_key(sink);
    case U',': return comma(sink);
    case U'#': lex_ = Lex::kLineComment; return;
    case U'/': lex_ = Lex::kSlash; return;
    case U'<':
      if (expect_ == Expect::kValue || expect_ == Expect::kColon) return fail("a tag, not a value");
      lex_ = Lex::kEndTag;
      tag_ = 1;
      return;
    default: begin(character, sink);
  }
}

// A key, or a value that is no container.
void LiteralReader::begin(const Character& character, LexemeSink& sink) {
  const char32_t value = character.value;
  const std::u32string_view ends = ends_of(value);
  if (expect_ == Expect::kColon) return fail("a character where a colon belongs");
  if (expect_ == Expect::kKeyOrEnd) {
    if (ends.empty() && !is_letter(value)) return fail("a character where a key or an end belongs");
    quoted_ = !ends.empty();
    lex_ = quoted_ ? Lex::kQuotedKey : Lex::kBareKey;
    key_ends_ = ends;
    key_.clear();
    if (!quoted_) append_code_point(key_, value);
    return;
  }
  if (on_trial_) return fail({});  // a comma would have ended the trial
  start_ = character.offset;
  text_.clear();
  if (!ends.empty()) {
    lex_ = Lex::kString;
    ends_ = ends;
  } else if (in_number(value) && lower(value) != U'e') {
    lex_ = Lex::kNumber;
    append_code_point(text_, value);
  } else {
    lex_ = Lex::kWord;
    word(value, sink);
  }
}

void LiteralReader::open(bool object, std::size_t offset, LexemeSink& sink) {
  if (on_trial_ || expect_ == Expect::kKeyOrEnd || expect_ == Expect::kColon) {
    return fail("a container where no value belongs");
  }
  if (depth_ == kMaxDepth) return fail("more than 32 nested containers");
  emit(object ? LexemeKind::kBeginObject : LexemeKind::kBeginArray, offset, {}, sink);
  is_object_[static_cast<std::size_t>(depth_++)] = object;
  after_value();
}

void LiteralReader::close(bool object, std::size_t offset, LexemeSink& sink) {
  if (expect_ != (object ? Expect::kKeyOrEnd : Expect::kValueOrEnd)) {
    return fail("an end that matches no beginning");
  }
  if (on_trial_) end_trial(sink);
  if (status_ == Status::kOpen) close_one(offset, sink);
}

void LiteralReader::close_one(std::size_t offset, LexemeSink& sink) {
  const bool object = is_object_[static_cast<std::size_t>(--depth_)];
  emit(object ? LexemeKind::kEndObject : LexemeKind::kEndArray, offset, {}, sink);
  if (depth_ > 0) {
    after_value();
  } else if (status_ == Status::kOpen) {
    status_ = Status::kClosed;
  }
}

void LiteralReader::end_tag(const Character& character, LexemeSink& sink) {
  if (lower(character.value) != kEndTagText[tag_]) return fail("a tag other than </answer>");
  if (++tag_ < kEndTagText.size()) return;
  lex_ = Lex::kBetween;
  if (on_trial_) end_trial(sink);
  while (status_ == Status::kOpen) close_one(character.offset, sink);
}

void LiteralReader::comma(LexemeSink& sink) {
  if (expect_ == Expect::kValue || expect_ == Expect::kColon) {
    return fail("a comma where a colon or a value belongs");
  }
  comma_ = true;
  if (on_trial_ && expect_ == Expect::kValueOrEnd) end_trial(sink);
}

void LiteralReader::quoted_key(char32_t value) {
  if (is_any(key_ends_, value)) {
    lex_ = Lex::kBetween;
    expect_ = Expect::kColon;
    return;
  }
  if (is_any(U"{}[]<\n", value)) return fail("a key that holds a bracket or the end of a line");
  if (value != U'\\') append_code_point(key_, value);  // some escape the _ in it
  if (key_.size() > kMaxKeyBytes) fail("a key of more than 128 bytes");
}

void LiteralReader::bare_key(const Character& character, LexemeSink& sink) {
  const char32_t value = character.value;
  if (is_letter(value) || is_digit(value)) {
    append_code_point(key_, value);
    if (key_.size() > kMaxKeyBytes) fail("a key of more than 128 bytes");
    return;
  }
  // The quote on trial would be the one that begins the key.
  const bool inner = on_trial_ && held_.size() == key_.size() + 1 && is_any(ends_, value);
  if (inner && sink.knows(key_)) {
    lex_ = Lex::kInnerKey;
    return;
  }
  lex_ = Lex::kBetween;
  expect_ = Expect::kColon;
  between(character, sink);
}

void LiteralReader::inner_key(char32_t value) {
  if (plain(value) == U' ') return;
  if (plain(value) == U':') on_trial_ = false;
  fail("a key of the answer inside a text");
}

void LiteralReader::end_key(LexemeSink& sink) {
  if (expect_ != Expect::kColon) return fail("a colon that follows no key");
  if (on_trial_) {
    if (!sink.knows(key_) && !(quoted_ && comma_)) return fail({});
    end_trial(sink);
    if (status_ != Status::kOpen) return;
  }
  emit(LexemeKind::kKey, start_, key_, sink);
  expect_ = Expect::kValue;
}

void LiteralReader::string_character(const Character& character) {
  if (character.value == U'\\') {
    lex_ = Lex::kEscape;
  } else if (is_any(ends_, character.value)) {
    on_trial_ = true;
    quote_ = character.value;
    spent_ = 0;
    after_value();
  } else {
    text(character.value);
  }
}

void LiteralReader::escape(char32_t value) {
  lex_ = Lex::kString;
  if (is_any(U"xuU", value)) {
    lex_ = Lex::kHex;
    escape_.assign(1, value);
  } else if (const char32_t meant = simple_escape(value)) {
    text(meant);
  } else if (value == U'\n') {  // a backslash before a line's end joins the lines
    drop_surrogate();
  } else {
    text(U'\\');
    text(value);
  }
}

void LiteralReader::hex(const Character& character) {
  if (hex_digit(character.value) < 0) {
    lex_ = Lex::kString;
    text(U'\\');
    for (const char32_t value : escape_) text(value);
    if (status_ == Status::kOpen) string_character(character);
    return;
  }
  escape_ += character.value;
  const std::size_t digits = escape_[0] == U'x' ? 2 : escape_[0] == U'u' ? 4 : 8;
  if (escape_.size() <= digits) return;
  lex_ = Lex::kString;
  char32_t value = 0;
  for (const char32_t digit : escape_.substr(1)) {
    value = value * 16 + static_cast<char32_t>(hex_digit(digit));
  }
  if (surrogate_ != 0 && is_low_surrogate(value)) {
    value = 0x10000 + ((surrogate_ - 0xD800) << 10) + (value - 0xDC00);
    surrogate_ = 0;
  }
  drop_surrogate();
  if (is_high_surrogate(value)) {
    surrogate_ = value;
  } else {
    text(value);
  }
}

void LiteralReader::text(char32_t value) {
  drop_surrogate();
  append_code_point(text_, value);
  if (text_.size() > kMaxStringBytes) fail("a string of more than 64 KiB");
}

void LiteralReader::drop_surrogate() {
  if (surrogate_ == 0) return;
  append_code_point(text_, surrogate_);  // alone it is no character: U+FFFD
  surrogate_ = 0;
}

void LiteralReader::end_trial(LexemeSink& sink) {
  on_trial_ = false;
  drop_surrogate();
  if (text_.size() > kMaxStringBytes) return fail("a string of more than 64 KiB");
  emit(LexemeKind::kString, start_, text_, sink);
}

void LiteralReader::word(char32_t value, LexemeSink& sink) {
  static constexpr std::pair<std::string_view, LexemeKind> kWords[] = {
      {"true", LexemeKind::kTrue},    {"false", LexemeKind::kFalse},
      {"null", LexemeKind::kNull},    {"none", LexemeKind::kNull},
      {"nan", LexemeKind::kNull},     {"undefined", LexemeKind::kNull},
      {"infinity", LexemeKind::kNull}};
  append_code_point(text_, lower(value));
  bool begun = false;
  for (const auto& [spelling, kind] : kWords) {
    if (spelling == text_) return scalar(kind, {}, sink);
    begun = begun || spelling.starts_with(text_);
  }
  if (!begun) fail("a word that is no value");
}

void LiteralReader::scalar(LexemeKind kind, std::string_view text, LexemeSink& sink) {
  emit(kind, start_, text, sink);
  after_value();
}

void LiteralReader::emit(LexemeKind kind, std::size_t offset, std::string_view text,
                         LexemeSink& sink) {
  if (!sink.on_lexeme({kind, depth_, offset, text})) status_ = Status::kStopped;
}

void LiteralReader::after_value() {
  lex_ = Lex::kBetween;
  comma_ = false;
  const bool in_object = is_object_[static_cast<std::size_t>(depth_ - 1)];
  expect_ = in_object ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
}

void LiteralReader::fail(std::string_view problem) {
  if (on_trial_) {
    on_trial_ = false;
    lex_ = Lex::kString;
    text(quote_);
    return;
  }
  status_ = Status::kFailed;
  problem_ = problem;
}

}  // namespace irt
