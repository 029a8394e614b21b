// Tells its caller which database is theirs: each group may have another one under the same name.
export default async function (request, ctx) {
  const database = await ctx.getSecret("DATABASE_URL");
  console.log(`${ctx.authenticatedKey.name} asks ${database}`);
  return Response.json({ group: ctx.authenticatedKeyGroup, key: ctx.authenticatedKey.name, database });
}
