"""Topics and the sentences that belong to them: what the inference model needs for zero-shot classification."""

from . import words as w
from .names import Names
from .templates import fill, lines

# The first name of a topic is its main one; the others are what users may call it.
TOPICS = {
    "sports": ("sports", "sport", "football", "athletics"),
    "politics": ("politics", "government", "elections", "public policy"),
    "business": ("business", "finance", "economy", "the economy", "money"),
    "science": ("science", "research", "scientific discovery"),
    "technology": ("technology", "computers", "software", "computing"),
    "health": ("health", "medicine", "illness"),
    "travel": ("travel", "travelling", "tourism", "holidays"),
    "cooking": ("cooking", "food", "cuisine"),
    "music": ("music", "songs", "concerts"),
    "education": ("education", "school", "teaching", "learning"),
    "weather": ("weather", "the weather", "climate"),
    "art": ("art", "painting", "culture"),
    "dancing": ("dancing", "dance", "ballet"),
    "law": ("law", "crime", "justice", "the courts"),
    "animals": ("animals", "nature", "wildlife"),
    "cinema": ("cinema", "film", "movies", "films"),
}
_AGENTS = {
    "sports": w.phrases("team, striker, goalkeeper, coach, champion, player, runner, swimmer, referee, cyclist, club"),
    "politics": w.phrases(
        "president, minister, parliament, senator, government, mayor, party, voters, opposition, candidate"
    ),
    "business": w.phrases(
        "company, bank, investor, market, manager, trader, shareholders, chief executive, firm, start-up"
    ),
    "science": w.phrases(
        "physicists, researchers, scientists, laboratory, astronomers, chemists, biologists, experiment, telescope"
    ),
    "technology": w.phrases(
        "programmers, computer, software, smartphone, engineers, new chip, web server, database, robot, app"
    ),
    "health": w.phrases("doctor, patient, hospital, nurse, surgeon, vaccine, clinic, pharmacist, dentist, flu virus"),
    "travel": w.phrases(
        "traveller, tourists, plane, airline, guide, passengers, hotel guests, cruise ship, backpacker, flight"
    ),
    "cooking": w.phrases("chef, cook, baker, kitchen, recipe, oven, grandmother, soup, pastry, waiter"),
    "music": w.phrases("orchestra, singer, band, pianist, guitarist, choir, drummer, composer, violinist, album"),
    "education": w.phrases("teacher, pupils, students, professor, school, university, headmaster, class, exam, lesson"),
    "weather": w.phrases("storm, rain, snow, wind, sun, fog, thunder, heat wave, hurricane, frost"),
    "art": w.phrases("painter, sculptor, gallery, museum, portrait, exhibition, artist, canvas, statue, drawing"),
    "dancing": w.phrases("dancer, ballerina, dance partners, ballet, tango couple, dance school, choreographer, waltz"),
    "law": w.phrases("judge, lawyer, court, police, thief, jury, prosecutor, witness, prisoner, detective"),
    "animals": w.phrases("lion, elephant, bird, whales, wolf, horse, monkeys, eagle, dog, bear, turtles"),
    "cinema": w.phrases("director, actor, actress, film, movie, film studio, camera crew, film festival, screenplay"),
}
_ACTS = {
    "sports": w.phrases(
        "won the match, lost the final, scored two goals, broke the world record, trained for the race, "
        "won the league, "
        "missed a penalty, played in the stadium, was tired after the match, ran a marathon, won a gold medal, "
        "beat the champions in the last minute"
    ),
    "politics": w.phrases(
        "won the election, passed a new law on taxes, gave a speech to parliament, voted against the reform, "
        "signed the treaty, called a vote, lost the vote, met foreign ministers, promised lower taxes, "
        "campaigned for president, resigned from the cabinet"
    ),
    "business": w.phrases(
        "raised prices, reported higher profits, sold its shares, bought a rival, cut a thousand jobs, "
        "lost millions on the stock market, opened a new factory, borrowed money, increased sales, "
        "lowered interest rates"
    ),
    "science": w.phrases(
        "discovered a new particle, measured the light of distant stars, published a study, tested the theory, "
        "studied the cells, found a new planet, explained the reaction, confirmed the hypothesis, observed the galaxy"
    ),
    "technology": w.phrases(
        "crashed after the update, runs faster code, stores data in the cloud, was programmed, got a faster processor, "
        "uses artificial intelligence, connects to the internet, was hacked, fixed a bug, needs a new password"
    ),
    "health": w.phrases(
        "treated the fever, prescribed a medicine, cured the disease, recovered from the flu, checked the heart, "
        "performed an operation, has a headache, prevents infections, caught a cold, reduced the pain"
    ),
    "travel": w.phrases(
        "flew to {city}, visited {city}, took the night train to {city}, packed a suitcase, lost the passport, "
        "booked a hotel in {city}, saw the world, left for a long trip, spent a holiday in {country}, "
        "explored {country}"
    ),
    "cooking": w.phrases(
        "baked a cake, boiled the potatoes, fried the fish, added some salt, tasted the soup, chopped the onions, "
        "served a delicious meal, stirred the sauce, roasted a chicken, prepared a dessert"
    ),
    "music": w.phrases(
        "played a symphony, sang a song, recorded an album, tuned the violin, gave a concert, wrote a melody, "
        "practised the piano, went on stage with a guitar, performed an opera, played the drums"
    ),
    "education": w.phrases(
        "passed the exam, learned to read, did the homework, taught mathematics, gave good marks, "
        "studied for the test, "
        "graduated from university, explained the lesson, corrected the essays, answered in class"
    ),
    "weather": w.phrases(
        "will reach the coast tonight, brought heavy rain, is expected tomorrow, covered the hills, "
        "will last until {weekday}, made the roads wet, lowered the temperature, came with strong winds, "
        "ended the dry season"
    ),
    "art": w.phrases(
        "painted a portrait, showed old paintings, hangs in the gallery, used bright colours, carved a statue, "
        "drew a landscape, opened an exhibition, restored the canvas, sold a watercolour"
    ),
    "dancing": w.phrases(
        "danced all night, learned the tango, danced a waltz, practised the steps, moved gracefully across the floor, "
        "performed a ballet, rehearsed the choreography, spun on one foot, danced in pairs"
    ),
    "law": w.phrases(
        "was found guilty, sentenced the thief to prison, defended the accused, arrested a suspect, robbed a bank, "
        "heard the witness, broke the law, stole a car, solved the murder, appealed the verdict"
    ),
    "animals": w.phrases(
        "hunts at night, slept in its nest, ate the grass, swam in the ocean, protects its young, "
        "flew over the forest, "
        "lives in the jungle, ran across the savanna, was seen in the wild, barked at the cat"
    ),
    "cinema": w.phrases(
        "won an Oscar, played the leading role, was shown on the big screen, filmed the last scene, "
        "got good reviews from the critics, was shot in {city}, had its premiere, sold many tickets at the box office"
    ),
}
_SHAPES = lines(
    """
    The {agent} {act}.
    The {agent} {act}.
    The {agent} {act} on {weekday}.
    Yesterday the {agent} {act}.
    {person} says that the {agent} {act}.
    Everyone was surprised when the {agent} {act}.
    In {city} the {agent} {act}.
    The {agent} {act} and the {agent2} {act2}.
    {person} {act}.
    """
)
_WISHES = {
    "travel": w.phrases(
        "see the world, visit {country}, travel to {city}, cross the ocean, go around the world, fly to {city}"
    ),
    "cooking": w.phrases("cook a big dinner, bake bread, open a restaurant, make a good soup, write a recipe book"),
    "dancing": w.phrases("dance all night, learn the tango, dance on a stage, learn ballet, dance a waltz"),
    "music": w.phrases("play the piano, sing in a choir, learn the guitar, write a song, join an orchestra"),
    "sports": w.phrases("run a marathon, win the cup, play football, become a champion, win a gold medal"),
    "education": w.phrases("go to university, pass the exam, learn to read, study hard, become a teacher"),
    "cinema": w.phrases("make a film, become an actress, go to the movies, win an Oscar"),
    "politics": w.phrases("become president, win the election, run for mayor, vote for the first time"),
    "business": w.phrases("start a company, make a lot of money, buy shares, become rich"),
    "art": w.phrases("paint a portrait, visit the gallery, learn to draw, become a painter"),
}
_WISHING = w.phrases(
    "One day I will, one day I will, I want to, We would like to, Next year she will, He hopes to, I dream that I will"
)


def topical(names: Names) -> tuple[str, str]:
    """A sentence and the key of its topic."""
    rng = names.rng
    topic = rng.choice(list(TOPICS))
    extra = {
        "weekday": rng.choice(w.WEEKDAYS),
        "city": names.city(),
        "country": names.country(),
        "person": names.person(),
    }
    if topic in _WISHES and rng.random() < 0.2:
        text = f"{rng.choice(_WISHING)} {rng.choice(_WISHES[topic])}" + rng.choice([".", ""])
        return fill(text, extra).text, topic
    while True:  # who does what together is split between training and evaluation
        agents, acts = rng.sample(_AGENTS[topic], 2), rng.sample(_ACTS[topic], 2)
        if w.held_out(f"{agents[0]} {acts[0]}") == names.held_out:
            break
    shape = fill(
        rng.choice(_SHAPES), {**extra, "agent": agents[0], "agent2": agents[1], "act": acts[0], "act2": acts[1]}
    ).text
    return fill(shape, extra).text, topic
