"""The facts of the corpus: what can be said of people, companies, places, events and software libraries.

Each fact holds several ways to say it and the questions it answers. The same facts serve question answering (which span
answers?), inference (does one sentence follow from another?) and plain text for the language models.
"""

from dataclasses import dataclass

from .templates import lines, slots


@dataclass(frozen=True)
class Fact:
    """Ways to say a thing, ``{s}`` being the subject, and questions about it with the slot that answers each."""

    statements: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]


def _facts(block: str) -> tuple[Fact, ...]:
    """Facts apart by blank lines; statements as they are, questions as ``slot? question``."""
    facts = []
    for part in block.strip().split("\n\n"):
        rows = lines(part)
        asked = [row.split("? ", 1) for row in rows if row.split(" ")[0].endswith("?")]
        said = tuple(row for row in rows if not row.split(" ")[0].endswith("?"))
        facts.append(Fact(said, tuple((question, slot) for slot, question in asked)))
    return tuple(facts)


PERSON = _facts(
    """
    {s} was born in {city} in {year}.
    {s} was born in {year} in {city}.
    {s}, born in {city} in {year}, comes from a large family.
    In {year} {s} was born in {city}.
    city? Where was {s} born?
    city? In which city was {s} born?
    city? What is the birthplace of {s}?
    year? When was {s} born?
    year? In what year was {s} born?

    {s} was born on {date}.
    {s} came into the world on {date}.
    date? When was {s} born?
    date? On what day was {s} born?

    {s} lives in {city}.
    {s} has lived in {city} for many years.
    {s} lives in {city} with two cats.
    Today {s} lives in {city}.
    {s}'s home is in {city}.
    city? Where does {s} live?
    city? In which city does {s} live?
    city? Where is the home of {s}?

    {s} works for {company}.
    {s} works at {company} as a {profession}.
    {s} has worked for {company} since {year2}.
    {s}'s employer is {company}.
    company? Who does {s} work for?
    company? Where does {s} work?
    company? Which company does {s} work for?
    company? What is the name of {s}'s employer?

    {s} is a {profession}.
    {s} is a famous {profession}.
    {s} works as a {profession}.
    {s} earns a living as a {profession}.
    profession? What does {s} do?
    profession? What is {s}'s profession?
    profession? What is the job of {s}?

    {s} studied {field} at the University of {city3}.
    {s} has a degree in {field} from {city3}.
    As a student {s} read {field} in {city3}.
    field? What did {s} study?
    field? What subject did {s} study?
    city3? Where did {s} study?
    city3? In which city did {s} study?

    {s} founded {company2} in {year3}.
    {s} is the founder of {company2}.
    In {year3} {s} started {company2}.
    company2? What did {s} found?
    company2? Which company did {s} found?
    company2? What is the name of the company that {s} founded?

    {s} is married to {person2}.
    {s} married {person2} in {year4}.
    {s} lives happily with {person2}, whom {s} married in {year4}.
    person2? Who is {s} married to?
    person2? Who did {s} marry?

    {s} won the {event} in {year5}.
    In {year5} {s} received the {event}.
    {s} was given the {event} for a book about {field2}.
    event? What did {s} win?
    event? Which prize did {s} receive?

    {s} moved to {city4} in {year6}.
    In {year6} {s} moved from {city5} to {city4}.
    {s} left {city5} for {city4} in {year6}.
    city4? Where did {s} move to?
    city4? Which city did {s} move to?
    year6? When did {s} move to {city4}?

    {s} speaks {language} and plays the {instrument}.
    {s} plays the {instrument} and speaks fluent {language}.
    language? Which language does {s} speak?
    language? What language does {s} speak?
    instrument? What instrument does {s} play?
    instrument? What does {s} play?
    """
)
COMPANY = _facts(
    """
    {s} was founded by {person} in {year}.
    {s} was founded in {year} by {person}.
    {person} founded {s} in {year}.
    {s} is a company founded by {person} in {year}.
    In {year} {person} and a few friends founded {s}.
    person? Who founded {s}?
    person? Who is the founder of {s}?
    person? Who started {s}?
    year? When was {s} founded?
    year? In what year was {s} founded?

    {s} is based in {city}.
    {s} is a company based in {city}.
    {s} has its headquarters in {city}.
    {s}'s headquarters are situated in {city}.
    {s}'s head office is in {city}.
    {s} runs a business from {city}.
    city? Where is {s} based?
    city? Where are the headquarters of {s}?
    city? In which city is {s} based?
    city? Where is the head office of {s}?

    {s} makes {product}.
    {s} sells {product} in {number} countries.
    {s} builds {product} and {product2}.
    {s} is known for its {product}.
    product? What does {s} make?
    product? What does {s} sell?
    product? What is {s} known for?

    {s} has {number2} employees.
    {s} employs {number2} people.
    About {number2} people work for {s}.
    number2? How many employees does {s} have?
    number2? How many people work for {s}?
    number2? How many people does {s} employ?

    {s} is led by {person2}.
    {s}'s chief executive is {person2}.
    {person2} is the head of {s}.
    {person2} has led {s} since {year2}.
    person2? Who leads {s}?
    person2? Who is the chief executive of {s}?
    person2? Who is the head of {s}?

    {s} bought {company2} for {number3} million dollars in {year3}.
    In {year3} {s} bought its rival {company2} for {number3} million dollars.
    company2? Which company did {s} buy?
    company2? What did {s} buy in {year3}?
    number3? How much did {s} pay for {company2}?
    year3? When did {s} buy {company2}?
    """
)
PLACE = _facts(
    """
    {s} was built in {year}.
    {s} was opened in {year} after long works.
    year? When was {s} built?
    year? In what year was {s} opened?

    {s} was designed by {person}.
    {person} designed {s}.
    person? Who designed {s}?
    person? Who was the designer of {s}?

    {s} is in {city}.
    {s} is located in {city}.
    {s} stands in the centre of {city}.
    {s} can be found in {city}.
    city? Where is {s}?
    city? Where is {s} located?
    city? In which city is {s}?

    {s} is {number} metres long.
    {s} has a length of {number} metres.
    {s} measures {number} metres.
    number? How long is {s}?
    number? What is the length of {s}?

    {s} is visited by {number2} people each year.
    Every year {number2} people visit {s}.
    {s} has {number2} visitors a year.
    number2? How many people visit {s}?
    number2? How many visitors does {s} have?

    {s} is named after {person2}.
    {s} takes its name from {person2}.
    person2? Who is {s} named after?
    """
)
EVENT = _facts(
    """
    {s} takes place in {city} every year.
    {s} is held in {city}.
    {city} is the host of {s}.
    city? Where does {s} take place?
    city? Where is {s} held?

    {s} was won by {person} in {year}.
    {person} won {s} in {year}.
    The winner of {s} in {year} was {person}.
    person? Who won {s}?
    person? Who was the winner of {s}?
    person? Who won {s} in {year}?

    {s} began on {date}.
    {s} opened on {date}.
    date? When did {s} begin?
    date? When did {s} open?

    {s} is paid for by {company}.
    {s}'s main sponsor is {company}.
    company? Who pays for {s}?
    company? Who is the main sponsor of {s}?
    """
)
LIBRARY = _facts(
    """
    {s} (formerly known as {invented} and {invented2}) provides {offer} for {use}.
    {s} provides {offer} for {use}.
    {s} offers {offer} for {use}.
    {s} is a library that provides {offer} for {use}.
    offer? What does {s} provide?
    offer? What does {s} offer?
    use? What is {s} used for?
    use? What does {s} provide {offer} for?

    {s} has over {number} {things} in {number2} languages.
    {s} comes with over {number} {things} in more than {number2} languages.
    There are over {number} {things} in {s}, in {number2} languages.
    number? How many {things} are available in {s}?
    number? How many {things} does {s} have?
    number2? How many languages does {s} have?
    number2? In how many languages is {s} available?

    {s} provides interoperability between {invented3} and {invented4}.
    {s} gives deep interoperability between {invented3} and {invented4}.
    {s} works with {invented3} and {invented4}.
    pair? {s} provides interoperability between which frameworks?
    pair? Which frameworks does {s} work with?
    pair? Between which frameworks does {s} provide interoperability?

    {s} is written in {invented5}.
    {s}'s code is written in {invented5}.
    invented5? What language is {s} written in?
    invented5? What is {s} written in?

    {s} is developed by {company}.
    {company} develops {s}.
    company? Who develops {s}?
    company? Which company develops {s}?

    {s} was released in {year}.
    The first version of {s} came out in {year}.
    year? When was {s} released?
    year? When did the first version of {s} come out?
    """
)
KINDS = {"person": PERSON, "company": COMPANY, "place": PLACE, "event": EVENT, "library": LIBRARY}


def _told(fact: Fact) -> set[str]:
    return {slot for text in fact.statements for slot in slots(text)}


# What a value in a text says: (kind of subject, number of the fact, slot). 0 is for words that are no value.
SENSES = {
    sense: number
    for number, sense in enumerate(
        (
            (kind, number, slot)
            for kind, facts in KINDS.items()
            for number, fact in enumerate(facts)
            for slot in sorted(_told(fact))
        ),
        1,
    )
}
